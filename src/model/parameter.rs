//! A parameter: its shape, how tensor parallelism splits it, and what it starts as.

/// A matrix (rows = inputs, columns = outputs) or a vector (one row).
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name within the model, as in `layer 3 attention.qkv.weight`.
    pub name: String,
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
        Parameter { name: name.into(), rows, columns, split, decayed: true, init: Init::Normal(deviation) }
    }

    /// A vector that weight decay leaves alone.
    pub fn vector(name: impl Into<String>, columns: u64, split: Split, value: f32) -> Self {
        Parameter { name: name.into(), rows: 1, columns, split, decayed: false, init: Init::Constant(value) }
    }

    /// How many numbers the whole parameter has.
    pub fn elements(&self) -> u64 {
        self.rows * self.columns
    }

    /// How many numbers each of `ranks` tensor-parallel ranks holds.
    pub fn shard_elements(&self, ranks: u64) -> u64 {
        match self.split {
            Split::Whole => self.elements(),
            Split::Rows | Split::Columns { .. } => self.elements() / ranks,
        }
    }

    /// Rows and columns of what each of `ranks` tensor-parallel ranks holds.
    pub fn shard_shape(&self, ranks: u64) -> (u64, u64) {
        match self.split {
            Split::Whole => (self.rows, self.columns),
            Split::Rows => (self.rows / ranks, self.columns),
            Split::Columns { .. } => (self.rows, self.columns / ranks),
        }
    }

    /// Whether every tensor-parallel rank holds all of it.
    pub fn is_replicated(&self) -> bool {
        self.split == Split::Whole
    }

    /// The shard of tensor-parallel rank `rank` of `ranks`, cut from the whole parameter (row-major).
    pub fn shard(&self, whole: &[f32], rank: u64, ranks: u64) -> Vec<f32> {
        assert_eq!(whole.len() as u64, self.elements(), "the whole of {}", self.name);
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

    /// The whole parameter from the shards of all tensor-parallel ranks, in order: the inverse of
    /// [`shard`](Self::shard).
    pub fn whole(&self, shards: &[Vec<f32>]) -> Vec<f32> {
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

    /// Two rows of q q k k v v: rank 1 of 2 holds the second column of each of q, k and v.
    #[test]
    fn a_shard_of_qkv_has_its_own_heads_of_each() {
        let qkv = Parameter::matrix("qkv", 2, 6, Split::Columns { groups: 3 }, 0.02);
        let whole: Vec<f32> = (0_u8..12).map(f32::from).collect();
        assert_eq!(qkv.shard(&whole, 1, 2), [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    }

    #[test]
    fn shards_of_rows_and_columns_cover_the_whole_once() {
        for split in [Split::Rows, Split::Columns { groups: 1 }, Split::Columns { groups: 2 }] {
            let parameter = Parameter::matrix("w", 4, 8, split, 0.02);
            let whole: Vec<f32> = (0_u8..32).map(f32::from).collect();
            let mut all: Vec<f32> = (0..4).flat_map(|rank| parameter.shard(&whole, rank, 4)).collect();
            all.sort_by(f32::total_cmp);
            assert_eq!(all, whole);
            let shards: Vec<Vec<f32>> = (0..4).map(|rank| parameter.shard(&whole, rank, 4)).collect();
            assert_eq!(parameter.whole(&shards), whole);
        }
    }
}
