//! There and back, and what a careless peer sends.

use proptest::prelude::*;

use super::*;
use crate::Status;
use crate::metadata::MetadataMap;

fn all() -> ErrorDetails {
    let mut details = ErrorDetails::new();
    details
        .set_error_info("STOCKOUT", "shop.example", [("item".to_owned(), "7".to_owned())])
        .set_retry_info(Some(Duration::new(5, 250_000_000)))
        .set_debug_info(["here".to_owned(), "there".to_owned()], "it fell")
        .add_quota_failure_violation("project:1", "used up")
        .add_quota_failure_violation("clientip:192.0.2.1", "used up, too")
        .add_precondition_failure_violation("TOS", "shop.example", "agree first")
        .add_bad_request_violation("name", "is empty")
        .set_request_info("42", "shard 3")
        .set_resource_info("book", "books/1", "somebody", "is lent")
        .add_help_link("how to order", "https://shop.example/order")
        .set_localized_message("de-CH", "Ausverkauft");
    details
}

fn of_details(details: impl Into<Bytes>) -> Status {
    Status::with_details(Code::NotFound, "not here", details.into())
}

#[test]
fn all_kinds_of_detail_travel() {
    let status = Status::with_error_details(Code::ResourceExhausted, "sold out", all());
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "sold out"));
    assert_eq!(status.get_error_details(), all());
    assert_eq!(status.check_error_details(), Ok(all()));
    assert_eq!(status.get_error_details_vec().len(), 10, "two violations of a quota are one detail");
    assert_eq!(status.get_details_quota_failure().unwrap().violations.len(), 2);
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(5250)));
    assert_eq!(status.get_details_error_info().unwrap().metadata["item"], "7");
    assert_eq!(status.get_details_help().unwrap().links[0].url, "https://shop.example/order");
}

#[test]
fn a_status_keeps_what_else_it_has() {
    let mut metadata = MetadataMap::new();
    metadata.insert("k", "v".parse().unwrap());
    let status = Status::with_error_details_and_metadata(Code::Aborted, "m", all(), metadata);
    assert_eq!(status.metadata().get("k").unwrap(), "v");
    assert_eq!(status.get_error_details(), all());
    let empty = Status::with_error_details(Code::Aborted, "m", ErrorDetails::new());
    assert!(empty.get_error_details().is_empty() && empty.get_details_help().is_none());
    assert!(Status::aborted("m").get_error_details().is_empty());
}

#[test]
fn what_is_not_known_is_kept_as_it_came() {
    let other = Any { type_url: "type.googleapis.com/shop.Sale".to_owned(), value: vec![1, 2, 3] };
    let details = [ErrorDetail::Other(other.clone()), RetryInfo::default().into()];
    let status = Status::with_error_details_vec(Code::Aborted, "m", details.clone());
    assert_eq!(status.get_error_details_vec(), details);
    assert_eq!(status.check_error_details().unwrap().into_iter().next(), Some(ErrorDetail::Other(other)));
}

#[test]
fn any_prefix_of_a_type_will_do() {
    let value = LocalizedMessage { locale: "en".into(), message: "m".into() }.encode_to_vec();
    for url in [
        "google.rpc.LocalizedMessage",
        "/google.rpc.LocalizedMessage",
        "a.example/b/google.rpc.LocalizedMessage",
    ] {
        let any = Any { type_url: url.to_owned(), value: value.clone() };
        let status =
            of_details(WireStatus { code: 5, message: String::new(), details: vec![any] }.encode_to_vec());
        assert_eq!(status.get_details_localized_message().unwrap().message, "m", "{url}");
    }
}

#[test]
fn details_that_cannot_be_read_cost_nothing_but_themselves() {
    let broken = Any { type_url: format!("{PREFIX}google.rpc.BadRequest"), value: vec![0xff; 3] };
    let good = ErrorDetail::from(RequestInfo { request_id: "1".into(), ..RequestInfo::default() });
    let details = vec![broken.clone(), good.clone().into_any()];
    let status = of_details(WireStatus { code: 3, message: "another".into(), details }.encode_to_vec());
    assert_eq!((status.code(), status.message()), (Code::NotFound, "not here"), "grpc-status counts");
    assert_eq!(status.get_error_details_vec(), [ErrorDetail::Other(broken), good]);
    assert!(status.get_details_bad_request().is_none());
    assert!(status.check_error_details().is_err());
    let garbage = of_details(vec![0x0f; 40]);
    assert!(garbage.get_error_details().is_empty() && garbage.check_error_details().is_err());
    assert_eq!(garbage.code(), Code::NotFound);
}

#[test]
fn a_delay_that_is_none_is_none() {
    for (seconds, nanos) in [(-1, 0), (0, -1), (1, i32::MAX), (i64::MIN, i32::MIN)] {
        let wire = WireRetryInfo { retry_delay: Some(WireDuration { seconds, nanos }) };
        assert_eq!(RetryInfo::of_wire(wire).retry_delay, None);
    }
    let longest = RetryInfo { retry_delay: Some(Duration::MAX) }.to_wire().retry_delay.unwrap();
    assert_eq!(longest.seconds, LONGEST);
}

proptest! {
    #[test]
    fn octets_of_any_kind_are_survived(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        let status = of_details(octets);
        let _ = (status.get_error_details(), status.check_error_details());
        prop_assert_eq!(status.code(), Code::NotFound);
    }

    #[test]
    fn a_cut_or_changed_status_is_survived(at in 0usize..400, octet in any::<u8>(), cut in any::<bool>()) {
        let mut octets = all().encode(Code::NotFound, "m").to_vec();
        if cut {
            octets.truncate(at);
        } else if let Some(place) = octets.get_mut(at) {
            *place = octet;
        }
        let status = of_details(octets);
        let _ = (status.get_error_details_vec(), status.check_error_details());
        prop_assert_eq!(status.code(), Code::NotFound);
    }
}
