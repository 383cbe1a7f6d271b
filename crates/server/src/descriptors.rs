//! File descriptors: every connection, program and record of a call needs some, and when there are none left, calls fail.

use rustix::process::{Resource, getrlimit, setrlimit};

/// For everything that is no stranger's connection: programs, upstreams, the database, the spool.
const RESERVE: u64 = 256;

/// Takes all descriptors that this process may have (many systems give 1,024 until asked), and says how many of the wished
/// connections there is room for.
pub(crate) fn room_for(wished: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let mut raised = getrlimit(Resource::Nofile);
        raised.current = raised.maximum;
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.current = limit.maximum,
            Err(error) => tracing::warn!(error = %error, "the limit of open files cannot be raised"),
        }
    }
    // `None` is no limit.
    let Some(descriptors) = limit.current else {
        return wished;
    };
    let room = within(wished, descriptors);
    if room < wished {
        tracing::warn!(
            descriptors,
            connections = room,
            wished,
            "fewer connections: the limit of open files is low"
        );
    }
    room
}

fn within(wished: usize, descriptors: u64) -> usize {
    // With almost none a few are still served, rather than nobody.
    let left = descriptors.saturating_sub(RESERVE).max(descriptors / 4).max(1);
    wished.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn dos_09_connections_leave_descriptors_for_everything_else() {
        for (wished, descriptors, room) in [
            (4096, 1_048_576, 4096),
            (4096, 4096, 3840),
            (4096, 1024, 768),
            (16, 1024, 16),
            (4096, 256, 64),
            (4096, 0, 1),
        ] {
            assert_eq!(within(wished, descriptors), room, "{descriptors}");
        }
    }
}
