//! Reading by way of a [`Value`], so that the code for it is in this crate, and once: other crates would have it compiled
//! again for each thing that they read from, and for speed.

use crate::{Averaging, FitSpec, LossSpec, Metric, OptimizerSpec, Spec, StepSpec};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

macro_rules! read_as_value {
    ($($spec:ident)*) => {$(
        impl<'de> Deserialize<'de> for $spec {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Value::deserialize(from)?.try_into().map_err(D::Error::custom)
            }
        }

        impl TryFrom<Value> for $spec {
            type Error = serde_json::Error;

            fn try_from(value: Value) -> Result<Self, serde_json::Error> {
                $spec::deserialize(value)
            }
        }

        impl Serialize for $spec {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $spec::serialize(self, to)
            }
        }
    )*};
}
read_as_value! { Spec LossSpec OptimizerSpec StepSpec Metric FitSpec Averaging }
