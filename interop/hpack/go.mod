module clearway/hpack-judge

go 1.25

require golang.org/x/net v0.62.0
