//! What must hold of aiorun, and whether it does.

use std::fmt::Write;

use crate::page::{Findings, figure, kilobytes, title};
use crate::table::{AIORUN, Limit, Row};

/// How something that must hold turned out.
struct Verdict {
    what: String,
    must: String,
    measured: Option<String>,
    holds: bool,
}

impl Verdict {
    fn new(what: String, rule: String, measured: Option<f64>, most: f64, unit: &str) -> Self {
        Self {
            what,
            must: rule,
            measured: measured.map(|measured| format!("{}{unit}", figure(measured))),
            holds: measured.is_some_and(|measured| measured <= most),
        }
    }
}

impl Findings {
    /// A table of all of it.
    pub(crate) fn verdicts(&self) -> String {
        let mut table = String::from("| what | must | measured | |\n| --- | --- | --- | --- |\n");
        for verdict in self.all() {
            let outcome = match (&verdict.measured, verdict.holds) {
                (None, _) => "not measured",
                (_, true) => "met",
                (_, false) => "**not met**",
            };
            let measured = verdict.measured.as_deref().unwrap_or_default();
            let _ = writeln!(
                table,
                "| {} | {} | {measured} | {outcome} |",
                verdict.what, verdict.must
            );
        }
        table.trim().to_owned()
    }

    fn all(&self) -> Vec<Verdict> {
        let rows = self.rows.iter().flat_map(|row| {
            let limits = row.limits.iter();
            limits.map(|(flavor, limit)| self.verdict(row, flavor, *limit))
        });
        rows.chain(self.of_hello()).collect()
    }

    fn verdict(&self, row: &Row, flavor: &'static str, limit: Limit) -> Verdict {
        let ours = self.least(row.id, flavor, AIORUN);
        let per = if row.per.is_empty() { "" } else { " per " };
        let unit = format!("{}{per}{}", row.how.unit(), row.per);
        let theirs = |who| Some((ours?, self.least(row.id, flavor, who)?));
        let what = format!("{}, {flavor}", row.title);
        match limit {
            Limit::Times(who, most) => {
                let ratio = theirs(who).map(|(ours, theirs)| ours / theirs);
                let rule = format!("at most {} × {who}", figure(most));
                Verdict::new(what, rule, ratio, most, " ×")
            }
            Limit::Beyond(who, most) => {
                let more = theirs(who).map(|(ours, theirs)| ours - theirs);
                let rule = format!("at most {most} {unit} more than {who}");
                Verdict::new(what, rule, more, most, "")
            }
            Limit::Growth(id, most) => {
                let before = self.least(id, flavor, AIORUN);
                let ratio = ours.zip(before).map(|(ours, before)| ours / before);
                let rule = format!("at most {} × itself in “{}”", figure(most), title(id));
                Verdict::new(what, rule, ratio, most, " ×")
            }
        }
    }

    fn of_hello(&self) -> Vec<Verdict> {
        let hellos = self.hellos.as_deref().unwrap_or_default();
        let of = |name| hellos.iter().find(|hello| hello.name == name);
        let both = of(AIORUN).zip(of("tokio"));
        let build = both.map(|(ours, theirs)| ours.dev / theirs.dev);
        let size = both.map(|(ours, theirs)| kilobytes(ours.bytes) - kilobytes(theirs.bytes));
        vec![
            Verdict::new(
                "Clean dev build of hello".to_owned(),
                "at most 1.30 × tokio".to_owned(),
                build,
                1.3,
                " ×",
            ),
            Verdict::new(
                "Stripped executable of hello".to_owned(),
                "at most 100 kB more than tokio".to_owned(),
                size,
                100.0,
                " kB",
            ),
        ]
    }
}
