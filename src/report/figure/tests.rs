//! What every figure keeps: well-formed, within its sheet, legible, the same every time.

use crate::report::figure::lettering::text_width;
use crate::report::figure::samples::{empty_gallery, gallery};

/// A text with the rectangle that it covers, in canvas units.
struct Written {
    text: String,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

fn number(node: &roxmltree::Node, name: &str) -> f64 {
    let text = node.attribute(name).unwrap_or_else(|| panic!("<{}> has no {name}", node.tag_name().name()));
    let value: f64 = text.parse().unwrap_or_else(|_| panic!("{name}=\"{text}\""));
    assert!(value.is_finite(), "{name}=\"{text}\"");
    value
}

/// The places that an element's shape reaches.
fn reach(node: &roxmltree::Node) -> Vec<(f64, f64)> {
    let of = |name| number(node, name);
    match node.tag_name().name() {
        "rect" => {
            assert!(of("width") >= 0.0 && of("height") >= 0.0);
            vec![(of("x"), of("y")), (of("x") + of("width"), of("y") + of("height"))]
        }
        "line" => vec![(of("x1"), of("y1")), (of("x2"), of("y2"))],
        "circle" => {
            vec![(of("cx") - of("r"), of("cy") - of("r")), (of("cx") + of("r"), of("cy") + of("r"))]
        }
        "polyline" | "polygon" => {
            let points = node.attribute("points").expect("points");
            let pair = |pair: &str| {
                let (x, y) = pair.split_once(',').expect("a pair");
                (x.parse::<f64>().expect("a number"), y.parse::<f64>().expect("a number"))
            };
            points.split_whitespace().map(pair).collect()
        }
        "text" => {
            let written = written(node);
            vec![(written.left, written.top), (written.right, written.bottom)]
        }
        "svg" | "title" => vec![],
        other => panic!("no figure draws <{other}>"),
    }
}

fn written(node: &roxmltree::Node) -> Written {
    let text = node.text().unwrap_or("").trim().to_owned();
    let (x, y, size) = (number(node, "x"), number(node, "y"), number(node, "font-size"));
    let bold = if node.attribute("font-weight") == Some("bold") { 1.12 } else { 1.0 };
    let width = text_width(&text, size) * bold;
    let (left, right) = match node.attribute("text-anchor") {
        Some("start") => (x, x + width),
        Some("middle") => (x - width / 2.0, x + width / 2.0),
        Some("end") => (x - width, x),
        other => panic!("text-anchor {other:?}"),
    };
    let half = 0.5 * size;
    match node.attribute("transform") {
        None => Written { text, left, right, top: y - half, bottom: y + half },
        Some(_) => {
            Written { text, left: x - half, right: x + half, top: y - width / 2.0, bottom: y + width / 2.0 }
        }
    }
}

#[test]
fn every_figure_is_well_formed_and_within_its_sheet() {
    for (name, svg) in gallery().into_iter().chain(empty_gallery()) {
        let document = roxmltree::Document::parse(svg.as_str()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let root = document.root_element();
        let view: Vec<f64> = root
            .attribute("viewBox")
            .expect("a view box")
            .split(' ')
            .map(|n| n.parse().expect("a number"))
            .collect();
        let (width, height) = (view[2], view[3]);
        assert!((number(&root, "width") * 10.0 - width).abs() < 1.0);
        for node in root.descendants().filter(|node| node.is_element()) {
            for (x, y) in reach(&node) {
                // Half a pixel for rounding.
                let within = (-5.0..=width + 5.0).contains(&x) && (-5.0..=height + 5.0).contains(&y);
                assert!(within, "{name}: {node:?} reaches ({x}, {y}) on a sheet of {width} by {height}");
            }
        }
    }
}

#[test]
fn no_two_labels_overlap() {
    for (name, svg) in gallery() {
        let document = roxmltree::Document::parse(svg.as_str()).expect("well-formed");
        let mut texts: Vec<Written> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .map(|node| written(&node))
            .collect();
        texts.sort_by(|a, b| a.left.total_cmp(&b.left));
        for (index, a) in texts.iter().enumerate() {
            for b in texts[index + 1..].iter().take_while(|b| b.left < a.right) {
                let apart = b.top >= a.bottom || a.top >= b.bottom;
                assert!(apart, "{name}: `{}` and `{}` overlap", a.text, b.text);
            }
        }
    }
}

#[test]
fn the_same_data_give_the_same_bytes() {
    assert!(gallery() == gallery());
}

#[test]
fn empty_figures_say_so() {
    for (name, svg) in empty_gallery() {
        let document = roxmltree::Document::parse(svg.as_str()).expect("well-formed");
        let texts: Vec<&str> = document
            .descendants()
            .filter(|node| node.has_tag_name("text"))
            .filter_map(|node| node.text())
            .collect();
        assert!(texts.iter().any(|text| text.ends_with('.')), "{name}: {texts:?}");
        assert!(texts.contains(&"Nothing <here> & \"there\""), "{name}: {texts:?}");
    }
}

#[test]
fn no_figure_is_too_large_for_a_page() {
    for (name, svg) in gallery() {
        assert!(svg.as_str().len() < 2_000_000, "{name} has {} bytes", svg.as_str().len());
    }
}

/// `TRAINYARD_GALLERY=/tmp/gallery cargo test --lib gallery_can_be_looked_at` writes the pictures there.
#[test]
fn the_gallery_can_be_looked_at() {
    let pictures = gallery();
    assert!(pictures.len() > 20);
    if let Some(folder) = std::env::var_os("TRAINYARD_GALLERY").map(std::path::PathBuf::from) {
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, svg) in pictures {
            std::fs::write(folder.join(format!("{name}.svg")), svg.as_str()).expect("a file");
        }
    }
}
