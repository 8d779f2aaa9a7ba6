//! `kernel`: what a kernel costs on a device and why, for one shape or a sweep.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::collective::{device, named};
use crate::cli::run::json;
use crate::cli::{Common, Failure, Format};
use crate::compute::explain::explain;
use crate::compute::{ComputeSpec, Kernel, Pass};
use crate::hardware::Precision;
use crate::report::kernel::{Explained, artefacts, table};
use crate::report::writer;
use crate::units::Bytes;

/// `trainyard kernel`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(subcommand)]
    kind: Kind,
    /// Device file or name
    #[arg(long, global = true, default_value = "h100_sxm")]
    device: String,
    /// Number format: f32, tf32, bf16, fp16, fp8, int8 …
    #[arg(long, global = true, default_value = "bf16")]
    dtype: String,
    /// Which product of a training step, or the backward pass of what has no weights
    #[arg(long, global = true, value_enum, default_value_t = Product::Forward)]
    pass: Product,
    /// How kernels are costed; `native` takes the device's own model
    #[arg(long, global = true, default_value = "native")]
    compute: String,
    /// Print without drawing
    #[arg(long, global = true)]
    no_report: bool,
    #[arg(long, value_enum, global = true, default_value_t = Format::Table)]
    format: Format,
    /// Folder for the figures (reports/kernel_KIND unless given)
    #[arg(long, value_name = "DIR", global = true)]
    out: Option<std::path::PathBuf>,
}

/// Which product of a training step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Product {
    /// y = x·W
    Forward,
    /// dx = dy·Wᵀ; the whole backward pass of attention, norms and softmax
    InputGradient,
    /// dW = xᵀ·dy
    WeightGradient,
}

/// The kernels. Every size is a number, a list (`128,256`), or a range: `128..4096:128` by steps,
/// `128..4096*2` by factors.
#[derive(Debug, Subcommand)]
enum Kind {
    /// Independent products y(m×n) = x(m×k)·W(k×n)
    Gemm {
        /// Rows of x and y: tokens
        #[arg(long)]
        m: Sizes,
        /// Columns of W and y: outputs
        #[arg(long)]
        n: Sizes,
        /// Columns of x: inputs
        #[arg(long)]
        k: Sizes,
        /// Products of this shape
        #[arg(long, default_value = "1")]
        batch: Sizes,
    },
    /// One product for each expert, each with its share of the tokens
    GroupedGemm {
        /// Experts on this device
        #[arg(long)]
        groups: Sizes,
        /// Tokens of all experts together
        #[arg(long)]
        tokens: Sizes,
        /// Tokens of the fullest expert; an even share unless given
        #[arg(long)]
        busiest: Option<u64>,
        /// Columns of W and y
        #[arg(long)]
        n: Sizes,
        /// Columns of x
        #[arg(long)]
        k: Sizes,
    },
    /// softmax(Q·Kᵀ)·V in one kernel (FlashAttention)
    Attention {
        /// Sequences
        #[arg(long, default_value = "1")]
        batch: Sizes,
        /// Query heads
        #[arg(long)]
        heads: Sizes,
        /// Key and value heads; as many as query heads unless given
        #[arg(long)]
        kv_heads: Option<u64>,
        /// Width of a head
        #[arg(long, default_value = "128")]
        head_dim: Sizes,
        /// Query positions; 1 when decoding
        #[arg(long)]
        queries: Sizes,
        /// Key positions; as many as query positions unless given
        #[arg(long)]
        keys: Option<Sizes>,
        /// Every query sees every key
        #[arg(long)]
        not_causal: bool,
    },
    /// Layer norm or RMS norm
    Norm {
        /// Rows
        #[arg(long)]
        rows: Sizes,
        /// Elements of a row
        #[arg(long)]
        width: Sizes,
    },
    /// Softmax of rows in memory
    Softmax {
        /// Rows
        #[arg(long)]
        rows: Sizes,
        /// Elements of a row
        #[arg(long)]
        width: Sizes,
    },
    /// One fused function of each element
    Elementwise {
        /// Elements of each tensor
        #[arg(long)]
        elements: Sizes,
        /// Tensors read
        #[arg(long, default_value_t = 1)]
        inputs: u32,
        /// Tensors written
        #[arg(long, default_value_t = 1)]
        outputs: u32,
        /// Flops for each element
        #[arg(long, default_value_t = 1)]
        flops: u32,
    },
    /// Rows of a table gathered by token, or added into it
    Embedding {
        /// Tokens
        #[arg(long)]
        tokens: Sizes,
        /// Elements of a row
        #[arg(long)]
        width: Sizes,
    },
    /// A fused AdamW step in mixed precision
    Optimizer {
        /// Parameters
        #[arg(long)]
        parameters: Sizes,
    },
    /// Bytes copied within the device's memory
    Copy {
        /// Bytes
        #[arg(long)]
        bytes: Sizes,
    },
    /// A tensor written again in another format
    Quantise {
        /// Elements
        #[arg(long)]
        elements: Sizes,
        /// Format written; `--dtype` is read
        #[arg(long, default_value = "fp8")]
        to: String,
    },
}

/// Sizes to sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sizes(Vec<u64>);

/// More shapes than this are a mistake.
const MOST_SHAPES: usize = 100_000;

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no size: write 4096, or 128,256, or 128..4096:128, or 128..4096*2");
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|&size| size > 0).ok_or_else(wrong);
        let Some((from, rest)) = text.split_once("..") else {
            return text.split(',').map(number).collect::<Result<_, _>>().map(Sizes);
        };
        let from = number(from)?;
        let (to, next): (u64, Box<dyn Fn(u64) -> Option<u64>>) =
            if let Some((to, step)) = rest.split_once(':') {
                let step = number(step)?;
                (number(to)?, Box::new(move |size| size.checked_add(step)))
            } else if let Some((to, factor)) = rest.split_once('*') {
                let factor = number(factor).ok().filter(|&factor| factor > 1).ok_or_else(wrong)?;
                (number(to)?, Box::new(move |size| size.checked_mul(factor)))
            } else {
                return Err(wrong());
            };
        let sizes: Vec<u64> = std::iter::successors(Some(from), |&size| next(size))
            .take_while(|&size| size <= to)
            .take(MOST_SHAPES + 1)
            .collect();
        if sizes.is_empty() { Err(wrong()) } else { Ok(Sizes(sizes)) }
    }
}

/// What the kernels are called, what is swept first, and each kernel with its size along that.
type Sweep = (&'static str, &'static str, Vec<(u64, Kernel)>);

impl Explain {
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let device = device(&self.device)?;
        let compute = named(&self.compute, "compute model", ComputeSpec::NAMES, ComputeSpec::from_name)?;
        let (kind, axis, kernels) = self.kernels()?;
        if kernels.len() > MOST_SHAPES {
            return Err(Failure::Argument(format!("{} shapes are more than {MOST_SHAPES}", kernels.len())));
        }
        let mut explained = Vec::new();
        for (size, kernel) in kernels {
            let report =
                explain(&kernel, &device, &compute).map_err(|why| Failure::Argument(why.to_string()))?;
            explained.push(Explained { size, report });
        }
        let common = Common { format: self.format, out: self.out.clone() };
        if !self.no_report {
            let folder = common.folder(&format!("kernel_{kind}"));
            writer::write(&folder, &artefacts(axis, &explained))
                .map_err(|why| Failure::Files(why.to_string()))?;
            eprintln!("figures: {}", folder.display());
        }
        match self.format {
            Format::Json => {
                println!("{}", json(&explained.iter().map(|one| &one.report).collect::<Vec<_>>()))
            }
            Format::Table => print!("{}", table(&explained)),
        }
        Ok(())
    }

    /// What the kernels are called, what is swept first, and each kernel with its size along that.
    fn kernels(&self) -> Result<Sweep, Failure> {
        let precision = precision(&self.dtype)?;
        let pass = match self.pass {
            Product::Forward => Pass::Forward,
            Product::InputGradient => Pass::InputGradient,
            Product::WeightGradient => Pass::WeightGradient,
        };
        let weights = matches!(self.kind, Kind::Gemm { .. } | Kind::GroupedGemm { .. });
        if pass == Pass::WeightGradient && !weights {
            let why =
                "only products have a weight gradient; `--pass input-gradient` is the whole backward pass";
            return Err(Failure::Argument(why.to_owned()));
        }
        Ok(match &self.kind {
            Kind::Gemm { m, n, k, batch } => {
                let axes = [("m", m), ("n", n), ("k", k), ("batch", batch)];
                sweep("gemm", &axes, |[m, n, k, batch]| Kernel::Gemm { batch, m, n, k, precision, pass })
            }
            Kind::GroupedGemm { groups, tokens, busiest, n, k } => {
                let axes = [("tokens", tokens), ("groups", groups), ("n", n), ("k", k)];
                sweep("grouped_gemm", &axes, |[tokens, groups, n, k]| {
                    let busiest = busiest.unwrap_or(tokens.div_ceil(groups)).min(tokens);
                    Kernel::GroupedGemm { groups, tokens, busiest, n, k, precision, pass }
                })
            }
            Kind::Attention { batch, heads, kv_heads, head_dim, queries, keys, not_causal } => {
                // Where keys follow queries there is nothing else to sweep.
                let same = Sizes(vec![0]);
                let keys = keys.as_ref().unwrap_or(&same);
                let axes = [
                    ("queries", queries),
                    ("keys", keys),
                    ("batch", batch),
                    ("heads", heads),
                    ("head dim", head_dim),
                ];
                if let Some(kv) =
                    kv_heads.filter(|&kv| kv == 0 || heads.0.iter().any(|heads| heads % kv != 0))
                {
                    return Err(Failure::Argument(format!(
                        "{kv} key and value heads do not divide the query heads"
                    )));
                }
                if keys.0.iter().any(|&keys| keys > 0 && queries.0.iter().any(|&queries| queries > keys)) {
                    return Err(Failure::Argument(
                        "the queries are the last of the keys: there are no more of them".into(),
                    ));
                }
                sweep("attention", &axes, |[queries, keys, batch, heads, head_dim]| Kernel::Attention {
                    batch,
                    heads,
                    kv_heads: kv_heads.unwrap_or(heads),
                    head_dim,
                    queries,
                    keys: if keys == 0 { queries } else { keys },
                    causal: !not_causal,
                    pass,
                    precision,
                })
            }
            Kind::Norm { rows, width } => {
                sweep("norm", &[("rows", rows), ("width", width)], |[rows, width]| Kernel::Norm {
                    rows,
                    width,
                    precision,
                    pass,
                })
            }
            Kind::Softmax { rows, width } => {
                sweep("softmax", &[("rows", rows), ("width", width)], |[rows, width]| Kernel::Softmax {
                    rows,
                    width,
                    precision,
                    pass,
                })
            }
            &Kind::Elementwise { ref elements, inputs, outputs, flops } => {
                sweep("elementwise", &[("elements", elements)], |[elements]| Kernel::Elementwise {
                    elements,
                    inputs,
                    outputs,
                    flops_per_element: flops,
                    precision,
                })
            }
            Kind::Embedding { tokens, width } => {
                sweep("embedding", &[("tokens", tokens), ("width", width)], |[tokens, width]| {
                    Kernel::Embedding { tokens, width, precision, pass }
                })
            }
            Kind::Optimizer { parameters } => {
                sweep("optimizer", &[("parameters", parameters)], |[parameters]| Kernel::adam_w(parameters))
            }
            Kind::Copy { bytes } => {
                sweep("copy", &[("bytes", bytes)], |[bytes]| Kernel::Copy { bytes: Bytes(bytes) })
            }
            Kind::Quantise { elements, to } => {
                let to = self::precision(to)?;
                sweep("quantise", &[("elements", elements)], |[elements]| Kernel::Quantise {
                    elements,
                    from: precision,
                    to,
                })
            }
        })
    }
}

/// Every combination of sizes; the axis with most of them is the one that figures go along.
fn sweep<const N: usize>(
    kind: &'static str,
    axes: &[(&'static str, &Sizes); N],
    kernel: impl Fn([u64; N]) -> Kernel,
) -> Sweep {
    let along = (0..N).rev().max_by_key(|&axis| axes[axis].1.0.len()).expect("a kernel has sizes");
    let mut all = vec![[0; N]];
    for (axis, (_, sizes)) in axes.iter().enumerate() {
        let with = |sizes_so_far: &[u64; N], size: u64| {
            let mut next = *sizes_so_far;
            next[axis] = size;
            next
        };
        all = all.iter().flat_map(|so_far| sizes.0.iter().map(|&size| with(so_far, size))).collect();
    }
    (kind, axes[along].0, all.into_iter().map(|sizes| (sizes[along], kernel(sizes))).collect())
}

fn precision(name: &str) -> Result<Precision, Failure> {
    serde_json::from_value(name.into()).map_err(|_| {
        let names: Vec<String> = Precision::ALL.iter().map(|precision| precision.name().to_owned()).collect();
        let help = crate::config::read::did_you_mean(name, &names, "there are");
        Failure::Argument(format!("there is no number format `{name}`; {help}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_lists_and_ranges() {
        let read = |text: &str| text.parse::<Sizes>().map(|sizes| sizes.0);
        assert_eq!(read("4096").unwrap(), [4096]);
        assert_eq!(read("1, 2,4").unwrap(), [1, 2, 4]);
        assert_eq!(read("128..512:128").unwrap(), [128, 256, 384, 512]);
        assert_eq!(read("1..9*2").unwrap(), [1, 2, 4, 8]);
        for text in ["", "0", "4..2:1", "1..4", "1..8*1", "a"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sweeps_combine_and_go_along_the_longest_axis() {
        let (few, many) = (Sizes(vec![1, 2]), Sizes(vec![3, 4, 5]));
        let kernel = |[a, b]: [u64; 2]| Kernel::Copy { bytes: Bytes(10 * a + b) };
        let (_, axis, kernels) = sweep("copy", &[("a", &few), ("b", &many)], kernel);
        assert_eq!((axis, kernels.len()), ("b", 6));
        assert_eq!(kernels[5], (5, Kernel::Copy { bytes: Bytes(25) }));
    }
}
