//! Answers in a broker's place, in the versions that librdkafka asks for.

use super::frame::{Api, Reader, Request};

/// OffsetFetch of these versions: several groups, flexible.
const OFFSET_FETCH: std::ops::RangeInclusive<i16> = 8..=9;

/// An answer that says `code` and nothing else.
///
/// # Panics
/// For an API or a version that no test has needed: a wrong answer would test librdkafka's parser.
pub fn error(request: &Request, code: i16) -> Vec<u8> {
    let throttle = 0i32.to_be_bytes();
    let body = match (request.api, request.version) {
        (Some(Api::EndTxn), 0..=2) | (Some(Api::AddOffsetsToTxn), 0..=2) => {
            [&throttle[..], &code.to_be_bytes()].concat()
        }
        (Some(Api::AddPartitionsToTxn), 0) => [&throttle[..], &every_partition(&request.body, code)].concat(),
        // Flexible: tags end header and body. Producer id and epoch are -1.
        (Some(Api::InitProducerId), 2..=4) => {
            [&[0], &throttle[..], &code.to_be_bytes(), &(-1i64).to_be_bytes(), &(-1i16).to_be_bytes(), &[0]].concat()
        }
        (Some(Api::OffsetFetch), version) if OFFSET_FETCH.contains(&version) => offsets(request, code),
        (api, version) => panic!("no answer of {api:?} in version {version} was written yet"),
    };
    [&request.correlation.to_be_bytes()[..], &body].concat()
}

/// OffsetFetch: offset -1 and no error for each partition, which means "never committed".
pub fn no_offsets(request: &Request) -> Vec<u8> {
    assert!(OFFSET_FETCH.contains(&request.version), "OffsetFetch in version {}", request.version);
    [&request.correlation.to_be_bytes()[..], &offsets(request, 0)].concat()
}

/// AddPartitionsToTxn v0: the same code for each partition asked for.
fn every_partition(body: &[u8], code: i16) -> Vec<u8> {
    let mut reader = Reader(body);
    let read = (|| {
        reader.string()?;
        reader.0 = reader.0.get(10..)?;
        let topics = reader.i32()?;
        let mut answer = topics.to_be_bytes().to_vec();
        for _ in 0..topics {
            let name = reader.string()?;
            let partitions = reader.i32()?;
            answer.extend(i16::try_from(name.len()).ok()?.to_be_bytes());
            answer.extend(name.as_bytes());
            answer.extend(partitions.to_be_bytes());
            for _ in 0..partitions {
                answer.extend(reader.i32()?.to_be_bytes());
                answer.extend(code.to_be_bytes());
            }
        }
        Some(answer)
    })();
    read.expect("AddPartitionsToTxn v0 as librdkafka writes it")
}

/// OffsetFetch v8 and v9: no partition has an offset; `code` is the group's.
fn offsets(request: &Request, code: i16) -> Vec<u8> {
    let mut reader = Reader(&request.body);
    let read = (|| {
        reader.tags()?;
        let groups = reader.compact_count()?;
        let mut answer = vec![0];
        answer.extend(0i32.to_be_bytes());
        write_varint(&mut answer, groups + 1);
        for _ in 0..groups {
            write_compact(&mut answer, &reader.compact_string()?);
            if request.version >= 9 {
                reader.compact_string()?;
                reader.i32()?;
            }
            let topics = reader.compact_count()?;
            write_varint(&mut answer, topics + 1);
            for _ in 0..topics {
                write_compact(&mut answer, &reader.compact_string()?);
                let partitions = reader.compact_count()?;
                write_varint(&mut answer, partitions + 1);
                for _ in 0..partitions {
                    answer.extend(reader.i32()?.to_be_bytes());
                    answer.extend((-1i64).to_be_bytes());
                    answer.extend((-1i32).to_be_bytes());
                    write_compact(&mut answer, "");
                    answer.extend(0i16.to_be_bytes());
                    answer.push(0);
                }
                reader.tags()?;
                answer.push(0);
            }
            reader.tags()?;
            answer.extend(code.to_be_bytes());
            answer.push(0);
        }
        answer.push(0);
        Some(answer)
    })();
    read.expect("OffsetFetch v8 or v9 as librdkafka writes it")
}

fn write_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_compact(out: &mut Vec<u8>, text: &str) {
    write_varint(out, u32::try_from(text.len()).expect("short") + 1);
    out.extend(text.as_bytes());
}
