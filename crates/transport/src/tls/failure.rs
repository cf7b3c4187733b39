//! From rustls's errors and the peer's alerts to [`TlsFailure`].
//!
//! Some alerts mean one thing to a client that was asked for a certificate and another to one that was not; rustls does not tell
//! afterwards. So our resolvers leave a note while rustls runs, on its thread, and whoever ran it picks it up at once:
//! [`Notes`].

use std::cell::Cell;

use clearway_http2::Role;
use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};

use super::verify::Unwelcome;
use crate::fault::{TlsAlert, TlsError, TlsFailure};

/// What our resolvers were asked during a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The server asked for a certificate.
    pub(super) asked: bool,
    /// There was one to show.
    pub(super) shown: bool,
    /// The client asked for a name that nobody here has.
    pub(super) unknown_name: bool,
}

thread_local! {
    static NOTES: Cell<Notes> = const { Cell::new(Notes { asked: false, shown: false, unknown_name: false }) };
}

impl Notes {
    /// Leaves a note for whoever runs this handshake.
    pub(super) fn leave(change: impl FnOnce(&mut Self)) {
        let mut notes = NOTES.get();
        change(&mut notes);
        NOTES.set(notes);
    }

    /// Runs a step of a handshake, and adds what was noted meanwhile.
    pub(super) fn collect<T>(&mut self, step: impl FnOnce() -> T) -> T {
        NOTES.set(*self);
        let outcome = step();
        *self = NOTES.take();
        outcome
    }

    /// The failure that rustls reports.
    pub(super) fn name(self, role: Role, error: Error) -> TlsError {
        let (failure, detail) = match error {
            Error::NoApplicationProtocol => (TlsFailure::NoHttp2, String::new()),
            Error::NoCertificatesPresented => (TlsFailure::CertificateWanted, String::new()),
            Error::InvalidCertificate(CertificateError::Other(OtherError(why))) if why.is::<Unwelcome>() => {
                (TlsFailure::Unwelcome, why.to_string())
            }
            Error::InvalidCertificate(error) => (of_certificate(&error), error.to_string()),
            Error::AlertReceived(alert) => (self.of_alert(role, alert), String::new()),
            Error::PeerIncompatible(why) => (of_incompatible(&why), format!("{why:?}")),
            // The words are rustls's; the note says what they are about.
            Error::General(_) if self.unknown_name => (TlsFailure::UnknownName, String::new()),
            other => (TlsFailure::Protocol, other.to_string()),
        };
        TlsError::new(role, failure, detail)
    }

    fn of_alert(self, role: Role, alert: AlertDescription) -> TlsFailure {
        use AlertDescription as Alert;
        let number = TlsAlert(u8::from(alert));
        match alert {
            Alert::NoApplicationProtocol => TlsFailure::NoHttp2,
            Alert::ProtocolVersion => TlsFailure::VersionMismatch,
            Alert::CertificateRequired => TlsFailure::CertificateWanted,
            Alert::UnrecognisedName => TlsFailure::UnknownName,
            // TLS 1.2 has no alert of its own for a certificate that is missing.
            Alert::HandshakeFailure | Alert::BadCertificate if self.asked && !self.shown => {
                TlsFailure::CertificateWanted
            }
            Alert::HandshakeFailure | Alert::InsufficientSecurity => TlsFailure::Incompatible,
            // What rustls's servers say when they have no certificate for the name.
            Alert::AccessDenied if role == Role::Client && !self.asked => TlsFailure::UnknownName,
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::DecryptError
            | Alert::AccessDenied
                if role == Role::Server || self.shown =>
            {
                TlsFailure::CertificateRefused(number)
            }
            _ => TlsFailure::Alert(number),
        }
    }
}

fn of_certificate(error: &CertificateError) -> TlsFailure {
    match error {
        // A bad signature is most often that of an authority with a trusted one's name and another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFailure::UnknownAuthority,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFailure::NotYetValid
        }
        CertificateError::Revoked => TlsFailure::Revoked,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsFailure::WrongName
        }
        CertificateError::ApplicationVerificationFailure => TlsFailure::Unwelcome,
        _ => TlsFailure::BadCertificate,
    }
}

const fn of_incompatible(why: &PeerIncompatible) -> TlsFailure {
    match why {
        // Clients of TLS 1.1 and older have no such extension, and rustls looks for it first.
        PeerIncompatible::SignatureAlgorithmsExtensionRequired
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls13RequiredForQuic => TlsFailure::VersionMismatch,
        _ => TlsFailure::Incompatible,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_means_what_was_asked_before() {
        let unasked = Notes::default();
        let empty_handed = Notes { asked: true, ..unasked };
        let shown = Notes { shown: true, ..empty_handed };
        let unknown_ca = TlsAlert(48);
        for (notes, role, alert, failure) in [
            (unasked, Role::Client, AlertDescription::HandshakeFailure, TlsFailure::Incompatible),
            (empty_handed, Role::Client, AlertDescription::HandshakeFailure, TlsFailure::CertificateWanted),
            (empty_handed, Role::Client, AlertDescription::BadCertificate, TlsFailure::CertificateWanted),
            (shown, Role::Client, AlertDescription::UnknownCA, TlsFailure::CertificateRefused(unknown_ca)),
            (unasked, Role::Client, AlertDescription::UnknownCA, TlsFailure::Alert(unknown_ca)),
            (unasked, Role::Server, AlertDescription::UnknownCA, TlsFailure::CertificateRefused(unknown_ca)),
            (unasked, Role::Client, AlertDescription::AccessDenied, TlsFailure::UnknownName),
            (unasked, Role::Server, AlertDescription::NoApplicationProtocol, TlsFailure::NoHttp2),
        ] {
            assert_eq!(notes.name(role, Error::AlertReceived(alert)).failure, failure, "{notes:?} {alert:?}");
        }
    }

    #[test]
    fn notes_go_to_the_handshake_that_was_run() {
        let (mut first, mut second) = (Notes::default(), Notes::default());
        first.collect(|| Notes::leave(|notes| notes.asked = true));
        second.collect(|| Notes::leave(|notes| notes.unknown_name = true));
        first.collect(|| Notes::leave(|notes| notes.shown = true));
        assert_eq!(first, Notes { asked: true, shown: true, unknown_name: false });
        assert_eq!(second, Notes { unknown_name: true, ..Notes::default() });
    }
}
