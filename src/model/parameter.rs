//! A parameter: its shape, how tensor parallelism splits it, and what it starts as.

/// A matrix (rows = inputs, columns = outputs) or a vector (one row).
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name within the model, as in `layer 3 attention.qkv.weight`.
    pub name: String,
    /// Matrices of this shape that lie one after the other: one of each expert.
    pub stack: u64,
    /// Whether the stack is of experts, which ranks of the data axis may divide among them.
    pub of_experts: bool,
    /// Whether each tensor-parallel rank sees a part of its gradient alone, though it holds all of it: the sum
    /// is the gradient.
    pub seen_in_part: bool,
    /// Rows; 1 for a vector.
    pub rows: u64,
    /// Columns.
    pub columns: u64,
    /// Which part of it each tensor-parallel rank holds.
    pub split: Split,
    /// Whether weight decay applies: to matrices, not to biases and norms.
    pub decayed: bool,
    /// What it starts as.
    pub init: Init,
}

/// Which part of a parameter each tensor-parallel rank holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// All of it on every rank.
    Whole,
    /// An equal run of rows: row-parallel weights, the vocabulary of an embedding.
    Rows,
    /// An equal run of columns of each of `groups` equal column groups: column-parallel weights
    /// (`groups` = 1), and q, k, v side by side (`groups` = 3) whose heads are split.
    Columns {
        /// Column groups side by side.
        groups: u64,
    },
}

/// Which part of a parameter a rank holds: its tensor rank and how many there are, and the same of the ranks
/// that divide experts among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Which tensor rank.
    pub tensor: u64,
    /// Of how many.
    pub tensors: u64,
    /// Which expert rank.
    pub expert: u64,
    /// Of how many.
    pub experts: u64,
}

/// What a parameter starts as.
#[derive(Debug, Clone, PartialEq)]
pub enum Init {
    /// Every number the same.
    Constant(f32),
    /// These numbers, row by row.
    Values(Vec<f32>),
    /// Normal with this standard deviation and mean zero.
    Normal(f32),
}

impl Parameter {
    /// A matrix that weight decay applies to.
    pub fn matrix(name: impl Into<String>, rows: u64, columns: u64, split: Split, deviation: f32) -> Self {
        Parameter {
            name: name.into(),
            stack: 1,
            of_experts: false,
            seen_in_part: false,
            rows,
            columns,
            split,
            decayed: true,
            init: Init::Normal(deviation),
        }
    }

    /// The same for each of `experts`.
    pub fn of_each(self, experts: u64) -> Self {
        Parameter { stack: experts, of_experts: true, ..self }
    }

    /// The same, of whose gradient each tensor-parallel rank sees a part.
    pub fn seen_in_part(self) -> Self {
        Parameter { seen_in_part: true, ..self }
    }

    /// A vector that weight decay leaves alone.
    pub fn vector(name: impl Into<String>, columns: u64, split: Split, value: f32) -> Self {
        let init = Init::Constant(value);
        Parameter { decayed: false, init, ..Parameter::matrix(name, 1, columns, split, 0.0) }
    }

    /// How many numbers the whole parameter has.
    pub fn elements(&self) -> u64 {
        self.stack * self.rows * self.columns
    }

    /// How many numbers each of `tensors` tensor-parallel ranks holds, of `experts` that divide experts.
    pub fn shard_elements(&self, tensors: u64, experts: u64) -> u64 {
        let (rows, columns) = self.shard_shape(tensors, experts);
        rows * columns
    }

    /// Rows and columns of what each rank holds; matrices of a stack stand one below the other.
    pub fn shard_shape(&self, tensors: u64, experts: u64) -> (u64, u64) {
        let stack = if self.of_experts { self.stack / experts } else { self.stack };
        match self.split {
            Split::Whole => (stack * self.rows, self.columns),
            Split::Rows => (stack * self.rows / tensors, self.columns),
            Split::Columns { .. } => (stack * self.rows, self.columns / tensors),
        }
    }

    /// Whether every tensor-parallel rank holds all of it.
    pub fn is_replicated(&self) -> bool {
        self.split == Split::Whole
    }

    /// What a rank holds, cut from the whole parameter (row-major).
    pub fn shard(&self, whole: &[f32], held: Held) -> Vec<f32> {
        assert_eq!(whole.len() as u64, self.elements(), "the whole of {}", self.name);
        let own = whole.len() / if self.of_experts { held.experts as usize } else { 1 };
        let first = if self.of_experts { held.expert as usize * own } else { 0 };
        let matrices = whole[first..first + own].chunks_exact((self.rows * self.columns) as usize);
        matrices.flat_map(|matrix| self.shard_of_one(matrix, held.tensor, held.tensors)).collect()
    }

    fn shard_of_one(&self, whole: &[f32], rank: u64, ranks: u64) -> Vec<f32> {
        match self.split {
            Split::Whole => whole.to_vec(),
            Split::Rows => {
                let part = whole.len() / ranks as usize;
                whole[rank as usize * part..][..part].to_vec()
            }
            Split::Columns { groups } => {
                let width = (self.columns / groups / ranks) as usize;
                let group_width = (self.columns / groups) as usize;
                let rows = whole.chunks_exact(self.columns as usize);
                rows.flat_map(|row| {
                    row.chunks_exact(group_width).flat_map(|group| &group[rank as usize * width..][..width])
                })
                .copied()
                .collect()
            }
        }
    }

    /// The whole parameter from the shards of all tensor-parallel ranks of each expert rank (of the first
    /// alone where it is not of experts), in order: the inverse of [`shard`](Self::shard).
    pub fn whole(&self, shards: &[Vec<f32>], tensors: usize) -> Vec<f32> {
        let of_expert_rank = |shards: &[Vec<f32>]| -> Vec<f32> {
            let (rows, columns) = self.shard_shape(tensors as u64, 1);
            let each = (rows * columns / self.stack) as usize;
            let matrices = 0..shards[0].len() / each;
            let cut = |at: usize| -> Vec<Vec<f32>> {
                shards.iter().map(|shard| shard[at * each..][..each].to_vec()).collect()
            };
            matrices.flat_map(|at| self.whole_of_one(&cut(at))).collect()
        };
        shards.chunks(tensors).flat_map(of_expert_rank).collect()
    }

    fn whole_of_one(&self, shards: &[Vec<f32>]) -> Vec<f32> {
        match self.split {
            Split::Whole => shards[0].clone(),
            Split::Rows => shards.concat(),
            Split::Columns { groups } => {
                let width = self.columns as usize / groups as usize / shards.len();
                let runs = self.rows as usize * groups as usize;
                let run = |at: usize| shards.iter().flat_map(move |shard| &shard[at * width..][..width]);
                (0..runs).flat_map(run).copied().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(tensor: u64, tensors: u64) -> Held {
        Held { tensor, tensors, expert: 0, experts: 1 }
    }

    /// Four experts on two ranks, each split in two: whatever is held where, it is the whole.
    #[test]
    fn shards_of_experts_cover_the_whole_once() {
        for split in [Split::Rows, Split::Columns { groups: 1 }] {
            let parameter = Parameter::matrix("w", 4, 6, split, 0.02).of_each(4);
            let whole: Vec<f32> = (0_u8..96).map(f32::from).collect();
            let held = (0..2).flat_map(|expert| (0..2).map(move |tensor| (expert, tensor)));
            let shards: Vec<Vec<f32>> = held
                .map(|(expert, tensor)| {
                    parameter.shard(&whole, Held { tensor, tensors: 2, expert, experts: 2 })
                })
                .collect();
            assert!(shards.iter().all(|shard| shard.len() as u64 == parameter.shard_elements(2, 2)));
            assert_eq!(parameter.whole(&shards, 2), whole);
        }
    }

    /// Two rows of q q k k v v: rank 1 of 2 holds the second column of each of q, k and v.
    #[test]
    fn a_shard_of_qkv_has_its_own_heads_of_each() {
        let qkv = Parameter::matrix("qkv", 2, 6, Split::Columns { groups: 3 }, 0.02);
        let whole: Vec<f32> = (0_u8..12).map(f32::from).collect();
        assert_eq!(qkv.shard(&whole, tensor(1, 2)), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    }

    #[test]
    fn shards_of_rows_and_columns_cover_the_whole_once() {
        for split in [Split::Rows, Split::Columns { groups: 1 }, Split::Columns { groups: 2 }] {
            let parameter = Parameter::matrix("w", 4, 8, split, 0.02);
            let whole: Vec<f32> = (0_u8..32).map(f32::from).collect();
            let mut all: Vec<f32> =
                (0..4).flat_map(|rank| parameter.shard(&whole, tensor(rank, 4))).collect();
            all.sort_by(f32::total_cmp);
            assert_eq!(all, whole);
            let shards: Vec<Vec<f32>> = (0..4).map(|rank| parameter.shard(&whole, tensor(rank, 4))).collect();
            assert_eq!(parameter.whole(&shards, 4), whole);
        }
    }
}
