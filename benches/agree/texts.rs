//! A made-up repository that looks like a real one: mostly prompts and servers, some projects that name them, several
//! documents in some files, folders of a few hundred files. Everything follows from the size and the seed.

use std::fmt::Write as _;

/// Files in a folder.
const FOLDER: usize = 300;
/// Words of which texts are made.
const WORDS: &[&str] = &[
    "the",
    "server",
    "answers",
    "with",
    "a",
    "list",
    "of",
    "tickets",
    "that",
    "are",
    "open",
    "for",
    "more",
    "than",
    "three",
    "days",
    "and",
    "names",
    "who",
    "works",
    "on",
    "them",
    "summarise",
    "each",
    "in",
    "one",
    "line",
    "never",
    "guess",
    "what",
    "is",
    "not",
    "there",
    "say",
    "so",
    "instead",
];

/// The files of a repository.
pub struct Texts {
    seed: u64,
    servers: usize,
    projects: usize,
    /// The first resource of each file, and behind the last one.
    starts: Vec<usize>,
}

/// Random numbers that depend on nothing but where they begin (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below.max(1) as u64).unwrap_or_default()
    }

    fn words(&mut self, count: usize) -> String {
        let words: Vec<&str> = (0..count).map(|_| WORDS[self.next(WORDS.len())]).collect();
        words.join(" ")
    }
}

impl Texts {
    pub fn new(size: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let (mut starts, mut next) = (vec![0], 0);
        while next < size {
            // One file in eight holds several documents.
            let documents = if random.next(8) == 0 { 2 + random.next(4) } else { 1 };
            next = (next + documents).min(size);
            starts.push(next);
        }
        Self {
            seed,
            servers: (size * 3 / 10).max(1),
            projects: size / 20,
            starts,
        }
    }

    pub fn files(&self) -> usize {
        self.starts.len() - 1
    }

    pub fn bytes(&self) -> usize {
        (0..self.files()).map(|file| self.text(file, 0).len()).sum()
    }

    pub fn path(file: usize) -> String {
        format!("team-{}/part-{file}.yaml", file / FOLDER)
    }

    /// A file for the change of this number.
    pub fn any(&self, number: usize) -> usize {
        Random(self.seed ^ (number as u64) << 32).next(self.files())
    }

    /// The text of a file; another `version` differs in its first document.
    pub fn text(&self, file: usize, version: usize) -> String {
        let mut text = String::new();
        for resource in self.starts[file]..self.starts[file + 1] {
            let first = resource == self.starts[file];
            if !first {
                text.push_str("---\n");
            }
            self.document(&mut text, resource, if first { version } else { 0 });
        }
        text
    }

    fn document(&self, out: &mut String, resource: usize, version: usize) {
        let mut random = Random(self.seed ^ (resource as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        // Kinds are spread over the folders.
        let place = resource.wrapping_mul(7) % (self.servers + self.projects).max(1);
        let _ = if resource < self.servers {
            Self::server(out, resource, version, &mut random)
        } else if resource < self.servers + self.projects {
            self.project(out, resource - self.servers, version, &mut random)
        } else {
            self.prompt(out, resource, version, place, &mut random)
        };
    }

    fn server(out: &mut String, number: usize, version: usize, random: &mut Random) -> std::fmt::Result {
        let about = random.words(8);
        writeln!(
            out,
            "# Kept by team {}\nkind: server\nname: server-{number}",
            number % 17
        )?;
        writeln!(out, "description: Version {version}, {about}")?;
        writeln!(
            out,
            "packageName: \"@example/server-{}@1.{}.0\"",
            number % 97,
            random.next(30)
        )?;
        writeln!(
            out,
            "args: [\"--zone\", Etc/UTC, --limit, \"{}\"]\nreplicas: 0\nenv:",
            random.next(1000)
        )?;
        for variable in 0..=random.next(4) {
            writeln!(
                out,
                "  - name: SETTING_{variable}\n    value: \"{}\"",
                random.next(100_000)
            )?;
        }
        Ok(())
    }

    fn project(&self, out: &mut String, number: usize, version: usize, random: &mut Random) -> std::fmt::Result {
        let first = random.next(self.servers);
        writeln!(out, "kind: project\nname: project-{number}")?;
        writeln!(out, "description: Version {version}, {}\nservers:", random.words(6))?;
        for server in 0..(2 + random.next(5)).min(self.servers) {
            writeln!(out, "  - server-{}", (first + server) % self.servers)?;
        }
        Ok(())
    }

    fn prompt(
        &self,
        out: &mut String,
        number: usize,
        version: usize,
        place: usize,
        random: &mut Random,
    ) -> std::fmt::Result {
        writeln!(out, "kind: prompt\nname: prompt-{number}")?;
        if self.projects > 0 && place.is_multiple_of(2) {
            writeln!(out, "project: project-{}", place % self.projects)?;
        }
        writeln!(out, "summary: Version {version}, {}", random.words(6))?;
        writeln!(
            out,
            "priority: {}\ntags: [support, \"{}\"]\ncontent: |",
            1 + random.next(10),
            random.next(50)
        )?;
        for _ in 0..2 + random.next(8) {
            writeln!(out, "  {}.", random.words(12))?;
        }
        Ok(())
    }
}
