//! Currencies by code and by sign.

/// ISO 4217, without funds, metals and test codes.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL \
    BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD \
    FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS \
    KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
    MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD \
    SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
    USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG";

/// Signs and everyday words, in lower case. Where several currencies share a sign, all of them: the
/// portal's default decides, else the first one, and `-` first means that nobody can tell.
const SIGNS: [(&str, &str); 25] = [
    ("€", "EUR"),
    ("euro", "EUR"),
    ("euros", "EUR"),
    ("£", "GBP EGP LBP SYP"),
    ("$", "USD CAD AUD NZD MXN ARS CLP COP SGD HKD"),
    ("us$", "USD"),
    ("c$", "CAD"),
    ("a$", "AUD"),
    ("r$", "BRL"),
    ("zł", "PLN"),
    ("zl", "PLN"),
    ("kč", "CZK"),
    ("ft", "HUF"),
    ("lei", "RON MDL"),
    ("leu", "RON MDL"),
    ("kr", "- SEK NOK DKK ISK"),
    ("fr", "CHF"),
    ("sfr", "CHF"),
    ("¥", "JPY CNY"),
    ("₽", "RUB"),
    ("₴", "UAH"),
    ("₺", "TRY"),
    ("₹", "INR"),
    ("лв", "BGN"),
    ("₫", "VND"),
];

/// The ISO 4217 code of a code in any case.
#[must_use]
pub fn currency(text: &str) -> Option<&'static str> {
    let text = text.trim();
    if text.len() != 3 {
        return None;
    }
    CODES.split(' ').find(|code| code.eq_ignore_ascii_case(text))
}

/// The currency of a code, a sign or an everyday word. `default` settles what `$` and `kr` mean.
/// The outer `None`: no currency at all; the inner one: a sign that could be several.
#[must_use]
pub fn currency_sign(token: &str, default: Option<&str>) -> Option<Option<&'static str>> {
    let token = token.trim().trim_end_matches('.').to_lowercase();
    if let Some(code) = currency(&token) {
        return Some(Some(code));
    }
    let (_, candidates) = SIGNS.iter().find(|(sign, _)| *sign == token)?;
    let mut codes = candidates.split(' ');
    let chosen = codes.clone().find(|c| Some(*c) == default).or_else(|| codes.next());
    Some(chosen.filter(|c| *c != "-"))
}
