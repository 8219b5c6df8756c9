//! Records of the POSIX pax format, which stand before an entry of a tar archive and say what its header can't: key and
//! value, any bytes. (The library's reader ends a value at its first newline, its writer takes keys of text only.)

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Keys of extended attributes begin with this, in archives of GNU tar, bsdtar and star alike.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Appends a record. It begins with its own length.
pub fn write(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// All records; `None` when they make no sense.
pub fn read(mut bytes: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let blank = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
        let record = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Some(records)
}

/// The key of an extended attribute. `=` would end it and is written as GNU tar does.
pub fn xattr_key(name: &OsStr) -> Vec<u8> {
    let mut key = XATTR.to_vec();
    for byte in name.as_bytes() {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            other => key.push(*other),
        }
    }
    key
}

/// The name of the extended attribute that a key stands for.
pub fn xattr_name(key: &[u8]) -> Option<OsString> {
    let mut rest = key.strip_prefix(XATTR)?;
    let mut name = Vec::new();
    while let [first, behind @ ..] = rest {
        let (byte, behind) = match rest {
            [b'%', b'2', b'5', behind @ ..] => (b'%', behind),
            [b'%', b'3', b'D', behind @ ..] => (b'=', behind),
            _ => (*first, behind),
        };
        name.push(byte);
        rest = behind;
    }
    Some(OsString::from_vec(name))
}

/// A time as a decimal number of seconds.
pub fn write_time((seconds, nanos): (i64, u32)) -> String {
    let nanoseconds = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let (sign, most) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    format!("{sign}{}.{:09}", most / 1_000_000_000, most % 1_000_000_000)
}

/// Seconds with a fraction, such as `1700000000.123456789`.
pub fn read_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let nanos: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let nanoseconds = sign * (i128::from(seconds.parse::<u64>().ok()?) * 1_000_000_000 + nanos);
    let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    Some((seconds, u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_any_bytes_and_any_length_are_read_as_written() {
        let values = [0, 1, 5, 90, 91, 92, 984, 985, 986, 9_000].map(|length| vec![b'\n'; length]);
        let mut bytes = Vec::new();
        for (number, value) in values.iter().enumerate() {
            write(&mut bytes, format!("key{number}").as_bytes(), value);
        }
        let read_back = read(&bytes).unwrap();
        assert!(read_back.iter().map(|(_, value)| value).eq(&values));
        assert_eq!(read_back[3].0, b"key3");
        assert!(bytes.starts_with(b"8 key0=\n9 key1=\n\n"));
        for wrong in [&b"5 a=b"[..], b"6 a=b\n7 ", b"x a=b\n", b"6 abc\n", b"2 a=b\n"] {
            assert_eq!(read(wrong), None, "{:?}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn names_of_attributes_may_hold_what_ends_a_key() {
        let name = OsString::from_vec(b"user.a=b%3D\xff".to_vec());
        assert_eq!(xattr_key(&name), b"SCHILY.xattr.user.a%3Db%253D\xff");
        assert_eq!(xattr_name(&xattr_key(&name)), Some(name));
        assert_eq!(xattr_name(b"SCHILY.xattr.user.50%"), Some("user.50%".into()));
        assert_eq!(xattr_name(b"mtime"), None);
    }

    #[test]
    fn times_are_exact_to_the_nanosecond_before_1970_too() {
        for (time, text) in
            [((5, 250_000_000), "5.250000000"), ((-2, 999_999_999), "-1.000000001"), ((7, 0), "7.000000000")]
        {
            assert_eq!(write_time(time), text);
            assert_eq!(read_time(text.as_bytes()), Some(time));
        }
        assert_eq!(read_time(b"7"), Some((7, 0)));
        assert_eq!(read_time(b"7.5"), Some((7, 500_000_000)));
        assert_eq!(read_time(b"soon"), None);
    }
}
