//! Panics of other people's code that ours catches: they are shown once for each place, and the run goes on. One that nobody
//! catches ends it, and so does any panic of ours.

use std::collections::BTreeSet;
use std::panic;
use std::sync::{Mutex, Once};

static ONCE: Once = Once::new();
static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

pub fn count_those_of_others() {
    ONCE.call_once(|| {
        let fatal = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|place| (place.file(), place.line())).unwrap_or_default();
            // Dependencies come from a registry; what is in no registry is ours.
            if !place.0.contains("/registry/") {
                return fatal(info);
            }
            let place = format!("{}:{}", place.0, place.1);
            if SEEN.lock().is_ok_and(|mut seen| seen.insert(place)) {
                eprintln!("CAUGHT: {info}");
            }
        }));
    });
}
