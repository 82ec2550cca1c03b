//! Communities as text.

use bgp::Communities;

/// The well-known ones (IANA, BGP Well-known Communities), by the names that GoBGP and so kube-router know them by.
const WELL_KNOWN: [(&str, u32); 10] = [
    ("internet", 0),
    ("planned-shut", 0xffff_0000),
    ("graceful-shutdown", 0xffff_0000),
    ("accept-own", 0xffff_0001),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("blackhole", 0xffff_029a),
    ("no-export", 0xffff_ff01),
    ("no-advertise", 0xffff_ff02),
    ("no-export-subconfed", 0xffff_ff03),
];

/// Adds the community that `text` names: a number or `64512:7` (RFC 1997), `64512:1:2` (RFC 8092), or a well-known name.
pub(in crate::advertise) fn parse(text: &str, communities: &mut Communities) -> Result<(), String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "{text:?} is no community; write a number, two numbers up to 65535 as 64512:7, three numbers as 64512:1:2, or a name as no-export"
        )
    };
    let well_known = WELL_KNOWN.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    if let Some((_, number)) = well_known {
        communities.standard.push(*number);
        return Ok(());
    }
    let parts: Vec<u32> = text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
    match parts[..] {
        [number] => communities.standard.push(number),
        [high, low] if high <= 0xffff && low <= 0xffff => communities.standard.push(high << 16 | low),
        [global, one, two] => communities.large.push((global, one, two)),
        _ => return Err(wrong()),
    }
    Ok(())
}
