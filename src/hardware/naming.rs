//! The names that papers, tables and drivers give to devices, and which device they mean.
//!
//! One part is written `A100-SXM4-80GB`, `NVIDIA A100 80GB`, `a100_80gb_sxm4` or plainly `A100`. A name is
//! read as its model with, where it says so, its form (SXM or PCIe) and its memory; of the devices of
//! that model the one is meant that agrees with most of it. What a name leaves open is taken as the common
//! part: the board with the fast links.

use crate::hardware::DeviceSpec;

/// Words that tell no two devices apart.
const IDLE: [&str; 22] = [
    "nvidia", "tesla", "amd", "instinct", "intel", "google", "cloud", "geforce", "quadro", "xilinx", "aws",
    "habana", "gpu", "tensor", "core", "ada", "hbm2", "hbm2e", "hbm3", "hbm3e", "gddr6", "gcd",
];

/// The device among `devices` that `name` means; nothing where no device has its model.
pub fn meant_by<'d>(devices: &'d [DeviceSpec], name: &str) -> Option<&'d DeviceSpec> {
    let lower = name.to_lowercase();
    if let Some(device) = devices.iter().find(|device| device.is_called(name) || device.is_called(&lower)) {
        return Some(device);
    }
    let wanted = Label::of(name);
    let of_model = devices.iter().filter(|device| {
        let names = std::iter::once(&device.name).chain(&device.aliases);
        names.map(|name| Label::of(name)).any(|label| label.model == wanted.model)
    });
    of_model.min_by_key(|device| wanted.distance(device))
}

/// A name taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Label {
    /// What is left of it, without spaces.
    model: String,
    form: Option<Form>,
    /// Gigabytes.
    memory: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Sxm,
    Pcie,
}

impl Label {
    fn of(name: &str) -> Label {
        let mut label = Label::default();
        let lower = name.to_lowercase();
        for word in lower.split(|sign: char| !sign.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            let digits: String = word.chars().take_while(char::is_ascii_digit).collect();
            let unit = &word[digits.len()..];
            if word.starts_with("sxm") || word == "hgx" || word == "dgx" {
                label.form = Some(Form::Sxm);
            } else if word.starts_with("pci") || word == "nvl" {
                label.form = Some(Form::Pcie);
            } else if !digits.is_empty() && ["g", "gb", "gib"].contains(&unit) {
                label.memory = digits.parse().ok();
            } else if !IDLE.contains(&word) {
                label.model += word;
            }
        }
        label
    }

    /// How far a device of the same model is from it: form first, then memory, then what is common.
    fn distance(&self, device: &DeviceSpec) -> (bool, u64, bool) {
        let is_pcie = Label::of(&device.name).form == Some(Form::Pcie);
        let has = if is_pcie { Form::Pcie } else { Form::Sxm };
        let gigabytes = device.memory.capacity.get() >> 30;
        let apart = self.memory.map_or(0, |wanted| wanted.abs_diff(gigabytes));
        (self.form.is_some_and(|wanted| wanted != has), apart, is_pcie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::support;
    use crate::units::Bytes;

    fn devices() -> Vec<DeviceSpec> {
        let like = |name: &str, aliases: &[&str], gigabytes: u64| {
            let mut spec = (*support::device()).clone();
            spec.name = name.to_owned();
            spec.aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
            spec.memory.capacity = Bytes(gigabytes << 30);
            spec
        };
        vec![
            like("a100_40gb_pcie", &[], 40),
            like("a100_40gb_sxm", &[], 40),
            like("a100_80gb_sxm", &["a100"], 80),
            like("h100_pcie", &[], 80),
            like("h100_sxm", &[], 80),
            like("v100_sxm2", &["v100"], 32),
            like("rtx_4090", &[], 24),
            like("tpu_v4", &[], 32),
            like("l4", &[], 24),
            like("l40s", &[], 48),
        ]
    }

    #[test]
    fn names_of_papers_and_drivers_mean_devices() {
        let devices = devices();
        let meant = |name: &str| meant_by(&devices, name).map(|device| device.name.as_str());
        for (name, device) in [
            ("A100", "a100_80gb_sxm"),
            ("A100-SXM4-80GB", "a100_80gb_sxm"),
            ("NVIDIA A100-SXM4-40GB", "a100_40gb_sxm"),
            ("a100_40gb", "a100_40gb_sxm"),
            ("A100-PCIE-40GB", "a100_40gb_pcie"),
            ("H100", "h100_sxm"),
            ("NVIDIA H100 80GB HBM3", "h100_sxm"),
            ("h100-pcie", "h100_pcie"),
            ("Tesla V100-SXM2-32GB", "v100_sxm2"),
            ("V100 16GB", "v100_sxm2"),
            ("GeForce RTX 4090", "rtx_4090"),
            ("TPU v4", "tpu_v4"),
            ("NVIDIA L4", "l4"),
            ("L40S", "l40s"),
        ] {
            assert_eq!(meant(name), Some(device), "{name}");
        }
        assert_eq!(meant("H300"), None);
        assert_eq!(meant(""), None);
    }
}
