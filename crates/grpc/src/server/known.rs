//! What a connection remembers of requests that came before: clients call the same few methods, with the same header
//! section or one that differs a little.
//!
//! Invariant: it only saves work. What is remembered of a section is what [`admit`](super::admit::admit) said of the same
//! octets; a path's route does not change while a server runs.

use clearway_http2::RouteId;

use super::admit::Admitted;
use super::methods::Routes;

/// Header sections remembered; the engine keeps as many.
const SECTIONS: usize = 2;
/// Paths remembered.
const PATHS: usize = 4;
/// Longer ones are looked up every time.
const PATH_OCTETS: usize = 256;

/// What one connection remembers; nothing before its first request, and at rest.
#[derive(Debug, Default)]
pub(super) struct Known(Option<Box<Memory>>);

#[derive(Debug, Default)]
struct Memory {
    /// By their numbers; zero is none.
    sections: [(u64, Option<Admitted>); SECTIONS],
    paths: [(Box<[u8]>, Option<RouteId>); PATHS],
    next_section: bool,
    next_path: u8,
}

impl Known {
    /// What was said of the section with this number.
    #[inline]
    pub(super) fn find(&self, section: u64) -> Option<Admitted> {
        let [first, second] = &self.0.as_ref()?.sections;
        let found = if first.0 == section { first } else { second };
        if found.0 == section { found.1.clone() } else { None }
    }

    /// Remembers what was said of a section that may come again.
    pub(super) fn remember(&mut self, section: u64, admitted: &Admitted) {
        if section == 0 {
            return;
        }
        let memory = self.0.get_or_insert_default();
        let [first, second] = &mut memory.sections;
        let place = if memory.next_section { second } else { first };
        *place = (section, Some(admitted.clone()));
        memory.next_section = !memory.next_section;
    }

    /// The route of a path.
    pub(super) fn route(&mut self, routes: &Routes, path: &[u8]) -> RouteId {
        for (known, route) in self.0.iter().flat_map(|memory| &memory.paths) {
            if let Some(route) = route
                && **known == *path
            {
                return *route;
            }
        }
        let route = routes.find(path);
        if route != RouteId::NONE && path.len() <= PATH_OCTETS {
            let memory = self.0.get_or_insert_default();
            if let Some(place) = memory.paths.get_mut(usize::from(memory.next_path) % PATHS) {
                *place = (path.into(), Some(route));
                memory.next_path = memory.next_path.wrapping_add(1);
            }
        }
        route
    }

    /// Forgets everything.
    pub(super) fn rest(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::BytesCodec;
    use crate::codec::compression::Agreed;
    use crate::metadata::MetadataMap;
    use crate::server::Methods;
    use crate::{Request, Response};

    #[test]
    fn paths_are_found_again_and_the_oldest_make_room() {
        let mut routes = Routes::default();
        let mut methods = Methods::of(&mut routes, "a.B");
        let names: Vec<String> = (0..PATHS + 2).map(|n| format!("M{n}")).collect();
        for name in &names {
            methods.unary(name, BytesCodec, |request: Request<bytes::Bytes>| async move {
                Ok(Response::new(request.into_inner()))
            });
        }
        let mut known = Known::default();
        for _ in 0..3 {
            for name in &names {
                let path = format!("/a.B/{name}");
                assert_eq!(known.route(&routes, path.as_bytes()), routes.find(path.as_bytes()));
                assert_eq!(known.route(&routes, path.as_bytes()), routes.find(path.as_bytes()));
            }
            assert_eq!(known.route(&routes, b"/a.B/None"), RouteId::NONE);
        }
        assert!(known.0.unwrap().paths.iter().all(|(path, _)| path.starts_with(b"/a.B/M")));
    }

    #[test]
    fn sections_are_found_by_their_number_only() {
        let admitted = |n| Admitted {
            route: RouteId(n),
            metadata: MetadataMap::new(),
            timeout: None,
            te_trailers: true,
            agreed: Agreed::default(),
        };
        let mut known = Known::default();
        known.remember(0, &admitted(9));
        assert!(known.find(0).is_none(), "it was not kept, so it cannot come again");
        for n in 1..4 {
            known.remember(u64::from(n), &admitted(n));
        }
        assert!(known.find(1).is_none());
        assert_eq!(known.find(2).map(|known| known.route), Some(RouteId(2)));
        assert_eq!(known.find(3).map(|known| known.route), Some(RouteId(3)));
    }
}
