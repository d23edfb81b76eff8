//! Bytes as hexadecimal digits in JSON.

use serde::{Deserialize, Deserializer, Serializer, de};

fn read<T: TryFrom<Vec<u8>>>(text: &str) -> Result<T, &'static str> {
    let bytes = hex::decode(text).map_err(|_| "bytes are written as hexadecimal digits")?;
    bytes.try_into().map_err(|_| "it has another number of bytes")
}

pub(super) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(bytes))
}

pub(super) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: TryFrom<Vec<u8>>,
    D: Deserializer<'de>,
{
    read(&String::deserialize(from)?).map_err(de::Error::custom)
}

/// A list of hashes.
pub(super) mod list {
    use super::super::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in super::super) fn serialize<S: Serializer>(
        all: &[Hash],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(all.iter().map(hex::encode))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<Hash>, D::Error> {
        let all = Vec::<String>::deserialize(from)?;
        all.iter().map(|text| super::read(text).map_err(de::Error::custom)).collect()
    }
}
