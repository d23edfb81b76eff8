//! The rules of the schema pain.001.001.09 (ISO 20022) for the elements that we write, as a check of a
//! file: which elements, in which order, how often, and of what form. Names and facets of the types are
//! the schema's.

use quick_xml::Reader;
use quick_xml::events::Event;
use regex::Regex;

/// How often an element may stand.
#[derive(Clone, Copy, PartialEq)]
enum Often {
    Once,
    Maybe,
    Many,
}
use Often::{Many, Maybe, Once};

/// What an element holds.
enum Holds {
    /// Elements in this order.
    These(&'static [(&'static str, Often, &'static str)]),
    /// One of these.
    OneOf(&'static [(&'static str, &'static str)]),
    /// A text of this pattern.
    Text(&'static str),
}

/// The types, each with its content.
fn holds(kind: &str) -> Holds {
    use Holds::{OneOf, Text, These};
    match kind {
        "Document" => These(&[("CstmrCdtTrfInitn", Once, "CustomerCreditTransferInitiationV09")]),
        "CustomerCreditTransferInitiationV09" => {
            These(&[("GrpHdr", Once, "GroupHeader85"), ("PmtInf", Many, "PaymentInstruction30")])
        }
        "GroupHeader85" => These(&[
            ("MsgId", Once, "Max35Text"),
            ("CreDtTm", Once, "ISODateTime"),
            ("NbOfTxs", Once, "Max15NumericText"),
            ("CtrlSum", Maybe, "DecimalNumber"),
            ("InitgPty", Once, "PartyIdentification135"),
        ]),
        "PaymentInstruction30" => These(&[
            ("PmtInfId", Once, "Max35Text"),
            ("PmtMtd", Once, "PaymentMethod3Code"),
            ("BtchBookg", Maybe, "BatchBookingIndicator"),
            ("NbOfTxs", Maybe, "Max15NumericText"),
            ("CtrlSum", Maybe, "DecimalNumber"),
            ("PmtTpInf", Maybe, "PaymentTypeInformation26"),
            ("ReqdExctnDt", Once, "DateAndDateTime2Choice"),
            ("Dbtr", Once, "PartyIdentification135"),
            ("DbtrAcct", Once, "CashAccount38"),
            ("DbtrAgt", Once, "BranchAndFinancialInstitutionIdentification6"),
            ("ChrgBr", Maybe, "ChargeBearerType1Code"),
            ("CdtTrfTxInf", Many, "CreditTransferTransaction34"),
        ]),
        "CreditTransferTransaction34" => These(&[
            ("PmtId", Once, "PaymentIdentification6"),
            ("Amt", Once, "AmountType4Choice"),
            ("CdtrAgt", Maybe, "BranchAndFinancialInstitutionIdentification6"),
            ("Cdtr", Maybe, "PartyIdentification135"),
            ("CdtrAcct", Maybe, "CashAccount38"),
            ("RmtInf", Maybe, "RemittanceInformation16"),
        ]),
        "PaymentIdentification6" => {
            These(&[("InstrId", Maybe, "Max35Text"), ("EndToEndId", Once, "Max35Text")])
        }
        "AmountType4Choice" => OneOf(&[("InstdAmt", "ActiveOrHistoricCurrencyAndAmount")]),
        "PaymentTypeInformation26" => These(&[("SvcLvl", Many, "ServiceLevel8Choice")]),
        "ServiceLevel8Choice" => OneOf(&[("Cd", "ExternalServiceLevel1Code")]),
        "DateAndDateTime2Choice" => OneOf(&[("Dt", "ISODate"), ("DtTm", "ISODateTime")]),
        "PartyIdentification135" => These(&[("Nm", Maybe, "Max140Text")]),
        "CashAccount38" => These(&[("Id", Once, "AccountIdentification4Choice")]),
        "AccountIdentification4Choice" => OneOf(&[("IBAN", "IBAN2007Identifier")]),
        "BranchAndFinancialInstitutionIdentification6" => {
            These(&[("FinInstnId", Once, "FinancialInstitutionIdentification18")])
        }
        "FinancialInstitutionIdentification18" => These(&[
            ("BICFI", Maybe, "BICFIDec2014Identifier"),
            ("Othr", Maybe, "GenericFinancialIdentification1"),
        ]),
        "GenericFinancialIdentification1" => These(&[("Id", Once, "Max35Text")]),
        "RemittanceInformation16" => These(&[("Ustrd", Many, "Max140Text")]),
        "Max35Text" => Text(r"^(?s).{1,35}$"),
        "Max140Text" => Text(r"^(?s).{1,140}$"),
        "Max15NumericText" => Text(r"^[0-9]{1,15}$"),
        "DecimalNumber" => Text(r"^-?[0-9]{1,18}(\.[0-9]{1,17})?$"),
        "ActiveOrHistoricCurrencyAndAmount" => Text(r"^[0-9]{1,13}(\.[0-9]{1,5})?$"),
        "ISODateTime" => Text(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$"),
        "ISODate" => Text(r"^\d{4}-\d\d-\d\d$"),
        "PaymentMethod3Code" => Text("^(CHK|TRF|TRA)$"),
        "BatchBookingIndicator" => Text("^(true|false|0|1)$"),
        "ChargeBearerType1Code" => Text("^(DEBT|CRED|SHAR|SLEV)$"),
        "ExternalServiceLevel1Code" => Text("^.{1,4}$"),
        "IBAN2007Identifier" => Text(r"^[A-Z]{2}[0-9]{2}[a-zA-Z0-9]{1,30}$"),
        "BICFIDec2014Identifier" => Text(r"^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$"),
        other => panic!("no rules for type {other}"),
    }
}

/// An element as it was read.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Every element of this name below this one.
    pub(super) fn all(&self, name: &str) -> Vec<&Element> {
        let mut found = Vec::new();
        for child in &self.children {
            if child.name == name {
                found.push(child);
            }
            found.extend(child.all(name));
        }
        found
    }

    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        self.all(name).into_iter().map(|e| e.text.as_str()).collect()
    }
}

/// Reads the file and checks it against the schema's rules.
pub(super) fn valid(xml: &str) -> Result<Element, String> {
    let root = read(xml)?;
    if root.name != "Document" {
        return Err(format!("the root is {}", root.name));
    }
    let space = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09";
    if root.attributes != [("xmlns".to_owned(), space.to_owned())] {
        return Err(format!("the root's attributes are {:?}", root.attributes));
    }
    check(&root, "Document")?;
    Ok(root)
}

fn check(element: &Element, kind: &str) -> Result<(), String> {
    let at = &element.name;
    let wanted = if kind == "ActiveOrHistoricCurrencyAndAmount" { vec!["Ccy"] } else { Vec::new() };
    let names: Vec<&str> = element.attributes.iter().map(|(n, _)| n.as_str()).collect();
    if at != "Document" && names != wanted {
        return Err(format!("{at} has the attributes {names:?}"));
    }
    match holds(kind) {
        Holds::Text(pattern) => {
            let fits = Regex::new(pattern).map_err(|e| e.to_string())?.is_match(&element.text);
            if element.children.is_empty() && fits {
                return Ok(());
            }
            Err(format!("{at} holds `{}`, which is no {kind}", element.text))
        }
        Holds::OneOf(choices) => {
            let [child] = element.children.as_slice() else {
                return Err(format!("{at} holds {} elements, not one", element.children.len()));
            };
            let chosen = choices.iter().find(|(name, _)| *name == child.name);
            check(child, chosen.ok_or(format!("{at} may not hold {}", child.name))?.1)
        }
        Holds::These(sequence) => {
            let mut rest = element.children.as_slice();
            for (name, often, kind) in sequence {
                let same = rest.iter().take_while(|c| c.name == *name).count();
                let fits = match often {
                    Once => same == 1,
                    Maybe => same <= 1,
                    Many => same >= 1,
                };
                if !fits {
                    return Err(format!("{at} holds {name} {same} times"));
                }
                let (these, others) = rest.split_at(same);
                these.iter().try_for_each(|child| check(child, kind))?;
                rest = others;
            }
            match rest.first() {
                Some(child) => Err(format!("{} does not belong here in {at}", child.name)),
                None => Ok(()),
            }
        }
    }
}

fn read(xml: &str) -> Result<Element, String> {
    let mut reader = Reader::from_str(xml);
    let blank = |name: String| Element {
        name,
        attributes: Vec::new(),
        text: String::new(),
        children: Vec::new(),
    };
    let mut open = vec![blank(String::new())];
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(start) => {
                let mut element =
                    blank(String::from_utf8_lossy(start.name().as_ref()).into_owned());
                for attribute in start.attributes() {
                    let a = attribute.map_err(|e| e.to_string())?;
                    let name = String::from_utf8_lossy(a.key.as_ref()).into_owned();
                    let value = String::from_utf8_lossy(&a.value).into_owned();
                    element.attributes.push((name, value));
                }
                open.push(element);
            }
            Event::Text(text) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                if let Some(last) = open.last_mut() {
                    last.text.push_str(&text);
                }
            }
            Event::GeneralRef(entity) => {
                // The schema counts characters, not how they are written.
                let name = String::from_utf8_lossy(&entity).into_owned();
                let stands = quick_xml::escape::unescape(&format!("&{name};"))
                    .map(std::borrow::Cow::into_owned)
                    .map_err(|e| e.to_string())?;
                if let Some(last) = open.last_mut() {
                    last.text.push_str(&stands);
                }
            }
            Event::End(_) => {
                let mut done = open.pop().ok_or("more ends than beginnings")?;
                if !done.children.is_empty() {
                    done.text.clear();
                }
                open.last_mut().ok_or("more ends than beginnings")?.children.push(done);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let root = open.pop().and_then(|mut top| top.children.pop());
    root.ok_or_else(|| "the file is empty".to_owned())
}
