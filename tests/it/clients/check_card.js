// Reads a Teams message with an Adaptive Card from stdin and prints what Microsoft's own renderer makes of it:
// {"problems": [...], "text": [one string a block]}.
const AC = require("adaptivecards/dist/adaptivecards.min.js");

let input = "";
process.stdin.on("data", (data) => (input += data));
process.stdin.on("end", () => {
  const message = JSON.parse(input);
  const [attachment] = message.attachments;
  const context = new AC.SerializationContext(AC.Versions.v1_4);
  const card = new AC.AdaptiveCard();
  card.parse(attachment.content, context);
  const problems = [];
  for (let index = 0; index < context.eventCount; index++) problems.push(context.getEventAt(index).message);
  problems.push(...card.validateProperties().validationEvents.map((event) => event.message));
  if (message.type !== "message") problems.push("not a message");
  if (attachment.contentType !== "application/vnd.microsoft.card.adaptive") problems.push("not a card");
  const text = [];
  for (let index = 0; index < card.getItemCount(); index++) {
    const block = card.getItemAt(index);
    let line = "";
    for (let run = 0; run < block.getInlineCount(); run++) line += block.getInlineAt(run).text;
    text.push(line);
  }
  console.log(JSON.stringify({ problems, text }));
});
