package cli

import (
	"fmt"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// inText finds command lines in sentences: in quotes, in parentheses, after a colon, or on a line of their own.
var inText = regexp.MustCompile("(?m)[\"`](polder [^\"`\n]+)[\"`]|\\((polder [^)\n]+)\\)|: (polder [a-z][^;\n]*)$|^\\s*(polder [a-z][^\n]*)$")

var quoted = regexp.MustCompile(`'[^']*'`)

// TestHintsNameWhatThereIs parses every command line that a string of the program or a document mentions.
func TestHintsNameWhatThereIs(t *testing.T) {
	root := os.DirFS("../../..")
	checked := 0
	for _, place := range []string{"README.md", "SECURITY.md", "CONTRIBUTING.md", "docs", "cmd", "agent", "auth", "server", "store", "planfile", "core", "api"} {
		err := fs.WalkDir(root, place, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
				return err
			}
			data, err := fs.ReadFile(root, name)
			if err != nil {
				return err
			}
			for _, text := range texts(t, name, data) {
				for _, line := range commandLines(text) {
					checked++
					if why := misleads(line); why != "" {
						t.Errorf("%s mentions %q: %s", name, line, why)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if checked < 100 {
		t.Errorf("only %d command lines were found", checked)
	}
}

// TestHintsBite checks that the test above finds what it is for.
func TestHintsBite(t *testing.T) {
	for line, want := range map[string]string{
		"polder node forget n1":                    "unknown",
		"polder attach":                            "",
		"polder attach a b":                        "arg",
		"polder up --data-dir x":                   "--data-dir",
		"polder token create --join":               "arg",
		"polder token create":                      "",
		"polder node remove n1 --yes":              "",
		"polder exec -it train-1.0 -- sh -c 'a b'": "",
	} {
		got := misleads(line)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", line, got, want)
		}
	}
	if got := commandLines("x; see it with: polder logs -f a"); len(got) != 1 || got[0] != "polder logs -f a" {
		t.Errorf("found %q", got)
	}
}

// texts are the strings of a Go file, or the whole of a document; nothing of other files.
func texts(t *testing.T, name string, data []byte) []string {
	switch filepath.Ext(name) {
	case ".md":
		return []string{string(data)}
	case ".go":
	default:
		return nil
	}
	if _, err := parser.ParseFile(token.NewFileSet(), name, data, parser.ImportsOnly); err != nil {
		t.Fatal(err)
	}
	var s scanner.Scanner
	files := token.NewFileSet()
	s.Init(files.AddFile(name, -1, len(data)), data, nil, 0)
	var out []string
	for {
		_, tok, lit := s.Scan()
		switch tok {
		case token.EOF:
			return out
		case token.STRING:
			if text, err := strconv.Unquote(lit); err == nil {
				out = append(out, text)
			}
		}
	}
}

// added stands for what the program writes after the end of a string.
const added = "ADDED"

func commandLines(text string) (out []string) {
	for _, m := range inText.FindAllStringSubmatch(text, -1) {
		line := m[1] + m[2] + m[3] + m[4]
		line, _, _ = strings.Cut(line, " #")
		line, _, _ = strings.Cut(line, " | ")
		line, _, _ = strings.Cut(line, " > ")
		line, _, _ = strings.Cut(line, "  ") // a column of explanations
		if strings.HasSuffix(line, " ") {
			line += added
		}
		out = append(out, line)
	}
	return out
}

// misleads says why a command line cannot be what somebody should write; "" when it can. One that only names a command, without
// flags and arguments, may leave those out.
func misleads(line string) string {
	root := newApp(Main{}).root()
	words := strings.Fields(quoted.ReplaceAllString(line, "TEXT"))[1:]
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err.Error()
	}
	if len(rest) == 0 || cmd == root {
		return unknownWord(cmd, rest)
	}
	cmd.InitDefaultHelpFlag()
	var wrong error
	loosen(cmd)
	if err := cmd.ParseFlags(rest); err != nil {
		wrong = err
	} else if args := cmd.Flags().Args(); cmd.HasSubCommands() {
		return unknownWord(cmd, args)
	} else if !strings.HasSuffix(line, "…") && !strings.Contains(line, "help") {
		wrong = cmd.ValidateArgs(args)
	}
	if wrong != nil {
		return wrong.Error()
	}
	return ""
}

func unknownWord(cmd *cobra.Command, rest []string) string {
	if len(rest) == 0 || rest[0] == added || strings.HasPrefix(rest[0], "-") {
		return ""
	}
	return fmt.Sprintf("unknown command %q", rest[0])
}

// loosen lets every flag have any value: documents write placeholders.
func loosen(cmd *cobra.Command) {
	each := func(f *pflag.Flag) {
		if f.NoOptDefVal == "" {
			f.Value = anything{}
		}
	}
	cmd.Flags().VisitAll(each)
	cmd.InheritedFlags().VisitAll(each)
}

type anything struct{}

func (anything) String() string   { return "" }
func (anything) Set(string) error { return nil }
func (anything) Type() string     { return "string" }
