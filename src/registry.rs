//! The macro by which a room lists its members: name → parse → build.
//!
//! A registry is an externally tagged enum whose variants carry their member's parameters. In YAML a
//! bare name means the member with the parameters of its paper (`schedule: one_f_one_b`); a map of
//! one key sets some of them (`schedule: {interleaved: {virtual_stages: 2}}`).

/// Lists the members of a registry.
///
/// Each member is a struct with `Debug + Clone + Default + Serialize + Deserialize` that implements
/// the room's trait. The macro makes the enum with
/// - `NAMES`, every member's name in order, and `MEMBERS`, the names with what `list` says of them: the
///   line of documentation that every member must have;
/// - `from_name`, the member with its default parameters;
/// - `name`, and `Deref` to `dyn Trait`, so that a spec is used as the policy it names;
/// - serde in both written forms, unknown names naming the nearest one.
#[macro_export]
macro_rules! registry {
    (
        $(#[$doc:meta])*
        pub enum $spec:ident: $contract:path {
            $($(#[doc = $what:literal])+ $name:literal => $variant:ident($member:ty)),+ $(,)?
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub enum $spec {
            $(#[doc = concat!("`", $name, "`:", $($what),+)] $variant($member)),+
        }

        impl $spec {
            /// Every member's name, in the order of the list.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// Every member's name and what it is, in the order of the list.
            pub const MEMBERS: &'static [(&'static str, &'static str)] =
                &[$(($name, concat!($($what),+).trim_ascii())),+];

            /// The member called `name` with its default parameters.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some($spec::$variant(<$member>::default())),)+
                    _ => None,
                }
            }

            /// The name of this member.
            pub fn name(&self) -> &'static str {
                match self {
                    $($spec::$variant(_) => $name),+
                }
            }
        }

        impl std::ops::Deref for $spec {
            type Target = dyn $contract;
            fn deref(&self) -> &Self::Target {
                match self {
                    $($spec::$variant(member) => member),+
                }
            }
        }

        impl std::ops::DerefMut for $spec {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self {
                    $($spec::$variant(member) => member),+
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $spec {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Member;
                impl<'de> serde::de::Visitor<'de> for Member {
                    type Value = $spec;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "one of {}", $spec::NAMES.join(", "))
                    }
                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<$spec, E> {
                        $spec::from_name(name).ok_or_else(|| E::unknown_variant(name, $spec::NAMES))
                    }
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$spec, A::Error> {
                        use serde::de::Error as _;
                        let name: String = map
                            .next_key()?
                            .ok_or_else(|| A::Error::custom(format!("expected one of {}", $spec::NAMES.join(", "))))?;
                        let member = match name.as_str() {
                            $($name => $spec::$variant(map.next_value()?),)+
                            other => return Err(A::Error::unknown_variant(other, $spec::NAMES)),
                        };
                        match map.next_key::<String>()? {
                            None => Ok(member),
                            Some(second) => Err(A::Error::custom(format!(
                                "expected one of {}, but both `{name}` and `{second}` are named",
                                $spec::NAMES.join(", "),
                            ))),
                        }
                    }
                }
                from.deserialize_any(Member)
            }
        }

        impl serde::Serialize for $spec {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap as _;
                let mut map = to.serialize_map(Some(1))?;
                match self {
                    $($spec::$variant(member) => map.serialize_entry($name, member)?),+
                }
                map.end()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    pub trait Greeting {
        fn greet(&self) -> String;
    }

    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Hello {
        times: usize,
    }

    impl Greeting for Hello {
        fn greet(&self) -> String {
            "hello ".repeat(self.times)
        }
    }

    #[derive(Debug, Clone, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct Silence {}

    impl Greeting for Silence {
        fn greet(&self) -> String {
            String::new()
        }
    }

    registry! {
        /// How to greet.
        pub enum GreetingSpec: Greeting {
            /// says it
            "hello" => Hello(Hello),
            /// does not
            "silence" => Silence(Silence),
        }
    }

    #[test]
    fn members_are_named_bare_or_with_parameters() {
        let read = |text: &str| serde_json::from_str::<GreetingSpec>(text);
        assert_eq!(read(r#"{"hello": {"times": 2}}"#).unwrap().greet(), "hello hello ");
        assert_eq!(read(r#""silence""#).unwrap().name(), "silence");
        assert!(read(r#""helo""#).unwrap_err().to_string().contains("unknown variant `helo`"));
        assert!(read(r#"{"hello": {"time": 2}}"#).unwrap_err().to_string().contains("unknown field"));
        assert_eq!(GreetingSpec::NAMES, ["hello", "silence"]);
        assert_eq!(GreetingSpec::MEMBERS, [("hello", "says it"), ("silence", "does not")]);
    }

    #[test]
    fn members_are_written_with_their_parameters() {
        let spec = GreetingSpec::from_name("hello").unwrap();
        assert_eq!(serde_json::to_string(&spec).unwrap(), r#"{"hello":{"times":0}}"#);
    }
}
