//! Pictures of data, as SVG.
//!
//! Each figure is a plain struct of data with a `draw`; the same data give the same bytes. A picture
//! names its axes with their units, keeps its legend outside of the data, and says in a note what it
//! leaves out (merged spans, points that an axis cannot show, labels without room). Without data it
//! shows a sentence instead of an empty plot.
//!
//! It does not know where numbers come from: callers name and sort them. Colours are asked for by
//! meaning ([`Hue`]), so one activity looks the same in every figure.
//!
//! Inside, [`Axis`] becomes a ruler with ticks, a frame puts title, legend and axes around the plot, and
//! the canvas, the only file that names plotters, draws. To add a figure, write its file, list it here,
//! and put a sample into `samples.rs`, which the tests look at.

mod area;
mod bars;
mod blocks;
mod canvas;
mod distribution;
mod frame;
mod graph;
mod heatmap;
mod lettering;
mod line;
mod palette;
mod quantity;
mod ruler;
mod scatter;
mod spread;
mod timeline;
mod waterfall;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub use area::{AreaChart, Layer};
pub use bars::{Bar, StackedBars};
pub use canvas::Svg;
pub use distribution::{Cdf, Histogram, Sample};
pub use graph::{EdgeKind, Graph, GraphEdge, GraphVertex, VertexKind};
pub use heatmap::{Columns, Heatmap};
pub use line::{Line, LineChart, Reference, ReferenceAt, running_mean};
pub use palette::{Color, Hue};
pub use quantity::Quantity;
pub use ruler::Axis;
pub use scatter::{Join, Point, PointGroup, Scatter};
pub use timeline::{TIMELINE_LIMIT, Timeline, TimelineArrow, TimelineCaption, TimelineLane, TimelineSpan};
pub use waterfall::{Waterfall, WaterfallBar};
