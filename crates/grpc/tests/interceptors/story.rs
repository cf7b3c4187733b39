//! An interceptor that tells what it hears, line by line.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clearway::Status;
use clearway::intercept::{Call, CallEnd, Direction, Intercept, MessageSize, Watch};
use clearway::metadata::MetadataMap;
use tokio::sync::Notify;

/// What was told, in order.
#[derive(Clone, Default)]
pub(crate) struct Story(Arc<(Mutex<Vec<String>>, Notify)>);

impl Story {
    pub(crate) fn tell(&self, line: impl Into<String>) {
        self.0.0.lock().unwrap().push(line.into());
        self.0.1.notify_one();
    }

    /// All of it so far; it begins anew.
    pub(crate) fn take(&self) -> Vec<String> {
        core::mem::take(&mut *self.0.0.lock().unwrap())
    }

    /// All of it, once a line of it begins like this.
    pub(crate) async fn until(&self, line: &str) -> Vec<String> {
        let told = async {
            loop {
                if self.0.0.lock().unwrap().iter().any(|told| told.starts_with(line)) {
                    return self.take();
                }
                self.0.1.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told)
            .await
            .unwrap_or_else(|_| panic!("no line {line:?} in {:?}", self.take()))
    }

    pub(crate) fn teller(&self, name: &'static str) -> Teller {
        Teller { name, story: self.clone() }
    }
}

/// Tells everything, under a name.
#[derive(Clone)]
pub(crate) struct Teller {
    name: &'static str,
    story: Story,
}

impl Intercept for Teller {
    type Watch = Self;

    async fn begin(&self, call: &mut Call) -> Result<Self, Status> {
        tokio::task::yield_now().await;
        self.story.tell(format!("{} begin {:?} {:?} {}", self.name, call.side(), call.kind(), call.path()));
        Ok(self.clone())
    }
}

impl Watch for Teller {
    async fn head(&self, _: &mut MetadataMap) -> Result<(), Status> {
        tokio::task::yield_now().await;
        self.story.tell(format!("{} head", self.name));
        Ok(())
    }

    fn message(&self, message: MessageSize) -> Result<(), Status> {
        let way = match message.direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
        };
        let MessageSize { octets, wire_octets, .. } = message;
        assert_eq!(octets, wire_octets, "nothing is compressed here");
        self.story.tell(format!("{} {way} {octets}", self.name));
        Ok(())
    }

    fn end(&self, end: &mut CallEnd) {
        let how = if end.is_cancelled() { " cancelled" } else { "" };
        let (sent, received) = (end.sent(), end.received());
        self.story.tell(format!(
            "{} end {}{how} {}/{} {}/{}",
            self.name,
            end.code(),
            sent.messages,
            sent.octets,
            received.messages,
            received.octets
        ));
    }
}
