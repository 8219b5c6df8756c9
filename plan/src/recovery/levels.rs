//! Which way data may go between versions of ChromaDB, told by the migration levels of its schema: a newer server migrates older data
//! for good, an older one can't open newer data, and answers its heartbeat all the same.

/// What a server that writes `server` makes of data of other levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// They are the same, or one of them is not known.
    Plain,
    /// It migrates the data; an older server can't open it from then on.
    OneWay,
    /// It can't open the data.
    Refused,
}

/// Levels stand as `2/6/10`: embeddings queue, metadata, system.
pub(crate) fn passage(data: Option<&str>, server: Option<&str>) -> Passage {
    let (Some(data), Some(server)) = (data.and_then(parsed), server.and_then(parsed)) else {
        return Passage::Plain;
    };
    if data.iter().zip(&server).any(|(data, server)| data > server) {
        Passage::Refused
    } else if data == server {
        Passage::Plain
    } else {
        Passage::OneWay
    }
}

fn parsed(text: &str) -> Option<[u32; 3]> {
    let mut levels = text.split('/').map(str::parse);
    let found = [levels.next()?.ok()?, levels.next()?.ok()?, levels.next()?.ok()?];
    levels.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_to_newer_servers_only_and_what_is_not_known_hinders_nobody() {
        let between = |data: &str, server: &str| passage(Some(data), Some(server));
        assert_eq!(between("2/6/10", "2/6/10"), Passage::Plain);
        assert_eq!(between("2/5/9", "2/6/10"), Passage::OneWay);
        assert_eq!(between("2/6/10", "2/5/9"), Passage::Refused);
        assert_eq!(between("2/5/10", "2/6/9"), Passage::Refused, "ahead in one part only");
        for unknown in ["", "2/6", "2/6/x", "2/6/10/1"] {
            assert_eq!(
                (between(unknown, "2/5/9"), between("2/6/10", unknown)),
                (Passage::Plain, Passage::Plain)
            );
        }
        assert_eq!(
            (passage(None, Some("2/5/9")), passage(Some("2/6/10"), None)),
            (Passage::Plain, Passage::Plain)
        );
    }
}
