//! The numbers of a trained model, whole, whatever mesh they were trained on.

use crate::model::{Model, Parameter};

/// A model with all its numbers, in the order of its pieces and their parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    model: Model,
    parameters: Vec<(Parameter, Vec<f32>)>,
}

impl Weights {
    /// A model with its numbers.
    ///
    /// # Panics
    /// When they are not those of the model's parameters, in order.
    pub fn new(model: Model, parameters: Vec<(Parameter, Vec<f32>)>) -> Self {
        let expected = parameters_of(&model);
        assert_eq!(expected.len(), parameters.len(), "every parameter of the model once");
        for (expected, (found, numbers)) in expected.iter().zip(&parameters) {
            assert_eq!(expected.name, found.name, "parameters come in the model's order");
            assert_eq!(expected.elements(), numbers.len() as u64, "the whole of {}", found.name);
        }
        Weights { model, parameters }
    }

    /// The mean of several copies of a model, in f64 and then rounded: copies that are alike stay as they are.
    ///
    /// # Panics
    /// When there are none, or they are not of one model.
    pub fn mean(copies: Vec<Weights>) -> Self {
        let count = copies.len() as f64;
        let mut copies = copies.into_iter();
        let mut first = copies.next().expect("at least one copy");
        let rest: Vec<Weights> = copies.collect();
        for (at, (_, numbers)) in first.parameters.iter_mut().enumerate() {
            for (place, number) in numbers.iter_mut().enumerate() {
                let others = rest.iter().map(|copy| f64::from(copy.parameters[at].1[place]));
                *number = ((f64::from(*number) + others.sum::<f64>()) / count) as f32;
            }
        }
        first
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Every parameter with its numbers, row by row.
    pub fn parameters(&self) -> &[(Parameter, Vec<f32>)] {
        &self.parameters
    }

    /// The numbers of a parameter.
    ///
    /// # Panics
    /// When the model has none of this name.
    pub fn of(&self, name: &str) -> &[f32] {
        &self.find(name).1
    }

    /// The part of a parameter that tensor-parallel rank `rank` of `ranks` holds.
    ///
    /// # Panics
    /// When the model has none of this name.
    pub fn shard(&self, name: &str, rank: u64, ranks: u64) -> Vec<f32> {
        let (parameter, numbers) = self.find(name);
        parameter.shard(numbers, rank, ranks)
    }

    fn find(&self, name: &str) -> &(Parameter, Vec<f32>) {
        let found = self.parameters.iter().find(|(parameter, _)| parameter.name == name);
        found.unwrap_or_else(|| panic!("the model has no `{name}`"))
    }
}

/// Every parameter of a model, in the order of its pieces.
pub fn parameters_of(model: &Model) -> Vec<Parameter> {
    model.pieces().into_iter().flat_map(|piece| model.parameters(piece)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Linear;

    fn weights(numbers: [f32; 2]) -> Weights {
        let model = Model::Linear(Linear { start: vec![0.0; 2] });
        let [parameter] = parameters_of(&model).try_into().unwrap();
        Weights::new(model, vec![(parameter, numbers.to_vec())])
    }

    /// A third of what cannot be halved exactly, three times, is itself again.
    #[test]
    fn copies_that_are_alike_stay_as_they_are() {
        let numbers = [0.1, 1.0 / 3.0];
        assert_eq!(Weights::mean(vec![weights(numbers); 3]), weights(numbers));
        assert_eq!(Weights::mean(vec![weights([1.0, 0.0]), weights([2.0, -1.0])]), weights([1.5, -0.5]));
    }
}
