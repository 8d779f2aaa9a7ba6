//! The sentences of DOT: nodes and edges with their attributes.

use std::ops::Range;

use indexmap::IndexMap;

use super::tokens::{Kind, Token, tokens};
use crate::tasks::readers::Malformed;

/// Attributes by name, each with its value and where that stands.
pub(super) type Attributes = IndexMap<String, (String, Range<usize>)>;

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub attributes: Attributes,
    /// Where it is first named.
    pub place: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub from: String,
    pub to: String,
    pub attributes: Attributes,
}

/// What a text says, nodes in the order in which they are first named.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph {
    pub nodes: IndexMap<String, Node>,
    pub edges: Vec<Edge>,
    /// Where the graph begins.
    pub place: Range<usize>,
}

/// `[strict] digraph [name] { … }`.
pub(super) fn parse(text: &str) -> Result<Graph, Malformed> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, graph: Graph::default() };
    if parser.keyword("strict") {
        parser.at += 1;
    }
    if !parser.keyword("digraph") {
        let why = "`digraph`: tasks hand their data on in one direction";
        return Err(parser.expected(why));
    }
    parser.graph.place = parser.next().span;
    if matches!(parser.peek().kind, Kind::Word { .. }) {
        parser.at += 1;
    }
    parser.sign("{", "`{` before the graph's nodes and edges")?;
    parser.statements(&Defaults::default())?;
    if parser.peek().kind != Kind::End {
        return Err(parser.expected("nothing after the graph's `}`"));
    }
    Ok(parser.graph)
}

/// What `node [...]` and `edge [...]` have set, within their braces.
#[derive(Debug, Clone, Default)]
struct Defaults {
    node: Attributes,
    edge: Attributes,
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    graph: Graph,
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at]
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        // The end is not passed.
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// Whether the next word is this one, in small or capital letters and without quotes.
    fn keyword(&self, wanted: &str) -> bool {
        matches!(&self.peek().kind, Kind::Word { text, quoted: false } if text.eq_ignore_ascii_case(wanted))
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek().kind, Kind::Sign(found) if found == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let there = self.is(sign);
        if there {
            self.at += 1;
        }
        there
    }

    fn sign(&mut self, sign: &str, wanted: &str) -> Result<(), Malformed> {
        if self.take(sign) { Ok(()) } else { Err(self.expected(wanted)) }
    }

    fn expected(&self, wanted: &str) -> Malformed {
        let found = self.peek();
        Malformed::at(found.span.clone(), format!("expected {wanted}, found {}", found.said()))
    }

    /// Everything up to the closing brace.
    fn statements(&mut self, outer: &Defaults) -> Result<(), Malformed> {
        let mut defaults = outer.clone();
        while !self.take("}") {
            self.statement(&mut defaults)?;
            self.take(";");
        }
        Ok(())
    }

    fn statement(&mut self, defaults: &mut Defaults) -> Result<(), Malformed> {
        if self.keyword("subgraph") {
            self.at += 1;
            if matches!(self.peek().kind, Kind::Word { .. }) {
                self.at += 1;
            }
        }
        if self.take("{") {
            self.statements(defaults)?;
            return if self.is("->") { Err(self.expected("a node at each end of an edge")) } else { Ok(()) };
        }
        for (keyword, of) in [("node", 0), ("edge", 1), ("graph", 2)] {
            if self.keyword(keyword) {
                self.at += 1;
                let set = self.attributes()?;
                match of {
                    0 => defaults.node.extend(set),
                    1 => defaults.edge.extend(set),
                    _ => {}
                }
                return Ok(());
            }
        }
        let (name, place) = self.word("a node, an edge or `}`")?;
        if self.take("=") {
            // An attribute of the graph: nothing that matters here.
            self.word("a value")?;
            return Ok(());
        }
        self.nodes_or_edges(name, place, defaults)
    }

    /// `a [...]` or `a -> b -> c [...]`.
    fn nodes_or_edges(
        &mut self,
        first: String,
        place: Range<usize>,
        defaults: &Defaults,
    ) -> Result<(), Malformed> {
        self.declare(&first, place, defaults);
        let mut chain = vec![first.clone()];
        loop {
            if self.is("--") {
                return Err(self.expected("`->`: tasks hand their data on in one direction"));
            }
            if !self.take("->") {
                break;
            }
            let (next, place) = self.word("a node after `->`")?;
            self.declare(&next, place, defaults);
            chain.push(next);
        }
        let set = self.attributes()?;
        if chain.len() == 1 {
            self.graph.nodes[&first].attributes.extend(set);
            return Ok(());
        }
        for pair in chain.windows(2) {
            let mut attributes = defaults.edge.clone();
            attributes.extend(set.clone());
            self.graph.edges.push(Edge { from: pair[0].clone(), to: pair[1].clone(), attributes });
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, place: Range<usize>, defaults: &Defaults) {
        let node = || Node { attributes: defaults.node.clone(), place };
        self.graph.nodes.entry(name.to_owned()).or_insert_with(node);
    }

    /// Any number of `[a=b, c=d]`.
    fn attributes(&mut self) -> Result<Attributes, Malformed> {
        let mut all = Attributes::new();
        while self.take("[") {
            while !self.take("]") {
                let (name, _) = self.word("an attribute or `]`")?;
                self.sign("=", &format!("`=` and a value after the attribute `{name}`"))?;
                let value = self.word(&format!("a value for the attribute `{name}`"))?;
                all.insert(name, value);
                if !self.take(",") {
                    self.take(";");
                }
            }
        }
        Ok(all)
    }

    fn word(&mut self, wanted: &str) -> Result<(String, Range<usize>), Malformed> {
        match &self.peek().kind {
            Kind::Word { text, .. } => {
                let text = text.clone();
                Ok((text, self.next().span))
            }
            _ => Err(self.expected(wanted)),
        }
    }
}
