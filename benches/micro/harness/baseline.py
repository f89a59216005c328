"""The baseline that is kept beside the benchmark, and what is held against it."""

import dataclasses
import json

from callgrind import Cost

RENEW = "benches/micro/run --renew"


@dataclasses.dataclass(frozen=True)
class Baseline:
    # What the counts depend on besides the code.
    made_with: dict
    # Instructions may grow by so much.
    limit_percent: float
    # So may allocations, of what is not alone in its process (see docs/performance.md): all others not at all.
    loose: dict
    costs: dict

    @staticmethod
    def read(path):
        kept = json.loads(path.read_text())
        costs = {name: Cost(**cost) for name, cost in kept["costs"].items()}
        return Baseline(kept["made_with"], kept["limit_percent"], kept["loose"], costs)

    def renewed(self, costs, made_with):
        return dataclasses.replace(self, costs=costs, made_with=made_with)

    def write(self, path):
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    def complaints(self, costs, made_with):
        """What is wrong, in sentences; none when nothing is."""
        said = []
        for name, cost in costs.items():
            if name not in self.costs:
                said.append(f"{name} is not in the baseline.")
                continue
            was = self.costs[name]
            grown = growth(was.instructions, cost.instructions)
            if grown > self.limit_percent:
                said.append(
                    f"{name} takes {cost.instructions:,.0f} instructions, {grown:.1f} % more than the baseline's "
                    f"{was.instructions:,.0f}: {self.limit_percent} % are allowed."
                )
            if cost.allocations > was.allocations * (1 + self.loose.get(name, 0) / 100):
                said.append(f"{name} allocates {cost.allocations:g} times, the baseline has {was.allocations:g}.")
        said += [f"{name} is in the baseline, and is no benchmark." for name in self.costs.keys() - costs.keys()]
        if said:
            other = [f"{what} was {was}, is {made_with.get(what)}" for what, was in self.made_with.items()
                     if made_with.get(what) != was]
            said += ["It may be that only this differs: " + "; ".join(other) + "."] if other else []
            said.append(f"If this is meant, or worth it: {RENEW}, and say why in the commit.")
        return said

    def table(self, costs):
        lines = [f"{'':<32}{'instructions':>13}{'baseline':>11}{'':>9}{'allocations':>13}{'baseline':>10}"]
        for name, cost in costs.items():
            was = self.costs.get(name)
            line = f"{name:<32}{cost.instructions:>13,.0f}"
            line += f"{was.instructions:>11,.0f}{growth(was.instructions, cost.instructions):>+8.1f}%" if was else " " * 20
            line += f"{cost.allocations:>13g}" + (f"{was.allocations:>10g}" if was else "")
            lines.append(line)
        return "\n".join(lines)


def growth(was, now):
    """In percent."""
    return (now / was - 1) * 100
