//! Who a simulated meter says it is.

use super::meter::{ILLEGAL_ADDRESS, ILLEGAL_FUNCTION};
use crate::modbus::{Ask, IdLevel, encode_exception, encode_identification, encode_server_id};
use crate::profile::Profile;

/// Basic and regular objects, by stream and one by one (V1.1b3, 6.21).
const CONFORMITY: u8 = 0x82;
const REVISION: &str = "V1.0 simulated";

/// The reply PDU to a question about the meter, not about its registers; `None` for a read.
pub(super) fn answer(profile: &Profile, ask: &Ask) -> Option<Vec<u8>> {
    match ask {
        Ask::Read(_) => None,
        Ask::Echo(_) if profile.habits.diagnostics => Some(ask.pdu()),
        Ask::Echo(_) => Some(encode_exception(ask.function(), ILLEGAL_FUNCTION).to_vec()),
        Ask::ServerId => {
            let text = format!("{} {}", profile.vendor, profile.model);
            Some(encode_server_id(text.as_bytes(), true))
        }
        Ask::Identification { level, object } => {
            let pdu = identification(profile, *level, *object);
            Some(pdu.unwrap_or_else(|| encode_exception(ask.function(), ILLEGAL_ADDRESS).to_vec()))
        }
    }
}

fn objects(profile: &Profile) -> Vec<(u8, String)> {
    vec![
        (0, profile.vendor.clone()),
        (1, profile.name.clone()),
        (2, REVISION.to_owned()),
        (4, format!("{} ({})", profile.model, profile.kind)),
        (5, profile.model.clone()),
    ]
}

/// `None` where there is no such single object.
fn identification(profile: &Profile, level: IdLevel, object: u8) -> Option<Vec<u8>> {
    let all = objects(profile);
    if level == IdLevel::Specific {
        let one = all.into_iter().find(|(id, _)| *id == object)?;
        return Some(encode_identification(level, CONFORMITY, &[one]));
    }
    // Who asks for more than there is gets what there is (6.21).
    let answered = if level == IdLevel::Extended { IdLevel::Regular } else { level };
    let of_level: Vec<_> = all.into_iter().filter(|(id, _)| *id <= answered.last_object()).collect();
    // An object that does not exist begins anew (6.21).
    let from = of_level.iter().position(|(id, _)| *id == object).unwrap_or(0);
    Some(encode_identification(answered, CONFORMITY, &of_level[from..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::{AskReply, IdentificationReply, ServerIdReply};
    use crate::profile;
    use std::path::Path;

    fn profile(vendor: &str) -> Profile {
        let profile = profile::find("eastron-sdm120", Path::new("."), &[]).unwrap();
        Profile { vendor: vendor.to_owned(), ..Profile::clone(&profile) }
    }

    fn said(profile: &Profile, level: IdLevel, object: u8) -> Result<IdentificationReply, u8> {
        let ask = Ask::Identification { level, object };
        let pdu = answer(profile, &ask).unwrap();
        match ask.read_reply(&pdu).unwrap() {
            AskReply::Data(data) => Ok(IdentificationReply::parse(data).unwrap()),
            AskReply::Exception(code) => Err(code),
        }
    }

    fn ids(reply: &IdentificationReply) -> Vec<u8> {
        reply.objects.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn a_meter_says_its_vendor_its_profile_and_its_model() {
        let profile = profile("Eastron");
        let basic = said(&profile, IdLevel::Basic, 0).unwrap();
        assert_eq!(ids(&basic), [0, 1, 2]);
        assert_eq!((&*basic.objects[0].1, &*basic.objects[1].1), ("Eastron", "eastron-sdm120"));
        assert_eq!(ids(&said(&profile, IdLevel::Regular, 0).unwrap()), [0, 1, 2, 4, 5]);
        assert_eq!(ids(&said(&profile, IdLevel::Extended, 4).unwrap()), [4, 5]);
        assert_eq!(ids(&said(&profile, IdLevel::Specific, 5).unwrap()), [5]);
        assert_eq!(said(&profile, IdLevel::Specific, 3), Err(ILLEGAL_ADDRESS));
        let pdu = answer(&profile, &Ask::ServerId).unwrap();
        let Ok(AskReply::Data(data)) = Ask::ServerId.read_reply(&pdu) else { panic!("{pdu:?}") };
        let id = ServerIdReply::parse(data);
        assert_eq!((id.text(), id.running), (format!("Eastron {}", profile.model), Some(true)));
    }

    #[test]
    fn an_identification_that_does_not_fit_goes_on_where_it_ended() {
        let profile = profile(&"V".repeat(235));
        let first = said(&profile, IdLevel::Basic, 0).unwrap();
        assert_eq!((ids(&first), first.more_follows), (vec![0], Some(1)));
        let second = said(&profile, IdLevel::Basic, 1).unwrap();
        assert_eq!((ids(&second), second.more_follows), (vec![1, 2], None));
    }

    #[test]
    fn an_echo_comes_only_from_a_meter_whose_profile_promises_it() {
        let mut profile = profile("Eastron");
        let ask = Ask::Echo(0x1234);
        assert_eq!(answer(&profile, &ask), Some(vec![0x88, 1]));
        profile.habits.diagnostics = true;
        assert_eq!(answer(&profile, &ask), Some(ask.pdu()));
    }
}
