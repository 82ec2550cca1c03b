//! The small type-length-value records that `nft` and we keep beside kernel objects: comments above all.
//!
//! The kernel stores them unread; the format is libnftnl's, so that `nft list ruleset` shows our comments.

use super::wire::USERDATA_MAX;

/// `NFTNL_UDATA_RULE_COMMENT`, `NFTNL_UDATA_SET_ELEM_COMMENT`, `NFTNL_UDATA_CHAIN_COMMENT`, `NFTNL_UDATA_TABLE_COMMENT`.
pub(super) const COMMENT: u8 = 0;
/// `NFTNL_UDATA_SET_KEYBYTEORDER`: how `nft` is to print the keys of a set.
pub(super) const SET_KEY_ORDER: u8 = 0;
/// `NFTNL_UDATA_SET_DATABYTEORDER`.
pub(super) const SET_DATA_ORDER: u8 = 1;
/// `NFTNL_UDATA_SET_COMMENT`.
pub(super) const SET_COMMENT: u8 = 7;

/// The longest comment `nft` reads (`NFTNL_UDATA_COMMENT_MAXLEN` is 128 with its zero).
const COMMENT_MAX: usize = 127;

/// Cuts a comment to what can be stored, at a character's border.
pub(super) fn fit(comment: &str) -> &str {
    let mut end = comment.len().min(COMMENT_MAX);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    &comment[..end]
}

/// Appends a record with a text and its terminating zero.
pub(super) fn put_text(out: &mut Vec<u8>, kind: u8, text: &str) {
    let text = fit(text);
    out.push(kind);
    out.push(u8::try_from(text.len() + 1).unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    debug_assert!(out.len() <= USERDATA_MAX);
}

/// Appends a record with a number, in host order as libnftnl does.
pub(super) fn put_number(out: &mut Vec<u8>, kind: u8, number: u32) {
    out.extend_from_slice(&[kind, 4]);
    out.extend_from_slice(&number.to_ne_bytes());
}

/// The userdata of an object with nothing but a comment.
pub(super) fn comment(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(&mut out, COMMENT, text);
    out
}

/// The text of the record `kind`, if there is one.
pub(super) fn text(mut bytes: &[u8], kind: u8) -> Option<String> {
    while let [this, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        if *this == kind {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            return Some(String::from_utf8_lossy(&value[..end]).into_owned());
        }
        bytes = &rest[usize::from(*length)..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_found_behind_other_records_and_lies_about_length_are_harmless() {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 3, 7);
        put_text(&mut bytes, 7, "ingress of default/web");
        assert_eq!(text(&bytes, 7).unwrap(), "ingress of default/web");
        assert_eq!(text(&bytes, 9), None);
        assert_eq!(text(&[7, 200, 65], 7), None);
        assert_eq!(text(&[7], 7), None);
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let long = "ä".repeat(100);
        assert_eq!(fit(&long).chars().count(), 63);
        assert_eq!(text(&comment(&long), COMMENT).unwrap(), fit(&long));
    }
}
