//! One self-contained page: text, tables and figures, nothing from the network.

use std::fmt::Write as _;

use crate::report::writer::Artefact;

/// A part of a page.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// Its blocks.
    pub blocks: Vec<Block>,
}

/// A block of a section.
#[derive(Debug, Clone)]
pub enum Block {
    /// A paragraph.
    Text(String),
    /// Preformatted text: a scenario, a table that is aligned already.
    Preformatted(String),
    /// A drawing with what it shows.
    Figure {
        /// What it shows.
        caption: String,
        /// The drawing.
        svg: String,
    },
}

/// What a page says of one thing among several, with the files that lie beside it.
#[derive(Debug, Clone, Default)]
pub struct Chapter {
    /// Its sections.
    pub sections: Vec<Section>,
    /// Figures, tables and the like.
    pub files: Vec<Artefact>,
}

/// The page.
pub fn page(title: &str, sections: &[Section]) -> String {
    let mut body = String::new();
    for (at, section) in sections.iter().enumerate() {
        writeln!(body, "<section id=\"s{at}\"><h2>{}</h2>", escape(&section.title)).expect("a string");
        for block in &section.blocks {
            match block {
                Block::Text(text) => writeln!(body, "<p>{}</p>", escape(text)),
                Block::Preformatted(text) => writeln!(body, "<pre>{}</pre>", escape(text)),
                Block::Figure { caption, svg } => {
                    writeln!(body, "<figure>{svg}<figcaption>{}</figcaption></figure>", escape(caption))
                }
            }
            .expect("a string");
        }
        body.push_str("</section>\n");
    }
    let contents: String = sections
        .iter()
        .enumerate()
        .map(|(at, section)| format!("<a href=\"#s{at}\">{}</a>", escape(&section.title)))
        .collect::<Vec<_>>()
        .join(" · ");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1><nav>{contents}</nav>\n{body}</body></html>\n",
        title = escape(title)
    )
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1140px;margin:2em auto;padding:0 1em;\
color:#1c2330;background:#fff}h1{font-size:1.6em}h2{font-size:1.2em;border-bottom:1px solid #d5dae2;\
padding-bottom:.2em;margin-top:2em}nav{color:#667}nav a{color:#1f5fa8;text-decoration:none}\
pre{background:#f4f6f9;padding:1em;overflow-x:auto;font:13px/1.45 ui-monospace,monospace;border-radius:4px}\
figure{margin:1.2em 0}figure svg{max-width:100%;height:auto;background:#fff}figcaption{color:#556;font-size:.92em}";

/// Text as HTML or XML text.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_not_markup() {
        let blocks = vec![Block::Text("a < b & \"c\"".into())];
        let page = page("<t>", &[Section { title: "x<y".into(), blocks }]);
        assert!(page.contains("a &lt; b &amp; &quot;c&quot;") && page.contains("<title>&lt;t&gt;</title>"));
    }
}
