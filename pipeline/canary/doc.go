// Package canary judges: samples of a baseline and of a canary in, a verdict with its reasons out.
//
// It is pure and deterministic. The answer to a look depends only on its [Request], which holds all samples so far and
// says which look it is of how many, so that any verdict can be replayed and audited later.
//
// Two judges are to be had. [Default] holds the share of identical canaries that are refused, over all looks and all
// metrics together, to one rate, also when samples follow each other closely in time. [Kayenta] gives the labels and
// scores that Kayenta's judge NetflixACAJudge gives, for people who move over.
//
// # Life of a look
//
// [Decode] takes a request from JSON and refuses what is not sound; [Judge] answers it with a [Report]. Each metric is
// cleaned, tested and labelled by itself; labels become scores of groups and one score; and the score, the labels and
// how far the looks have come become the [Verdict].
//
// Where to look: judge.go, default.go and kayenta.go (the judges); gauge.go and counts.go (the two kinds of metrics of the
// default judge), likelihood.go (how sure a difference is), jump.go (one that begins later), critical.go, looks.go and tables.go
// (how sure it has to be), spread.go (a wider spread, a longer tail), shift.go (what a difference means), words.go (the
// sentence); mannwhitney.go (Kayenta's test); request.go, decode.go and report.go (the forms), clean.go, score.go.
package canary
