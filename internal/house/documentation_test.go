package house

import (
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
	"testing"
)

// packagesAreDocumented checks that every package says what it is. A package that is generated as a whole is exempt: what
// made it is documented instead.
func packagesAreDocumented(ss []*source, except *exceptions) []string {
	said := map[string]bool{}
	for _, s := range ss {
		if s.test || s.generated {
			continue
		}
		said[s.pkg()] = said[s.pkg()] || introduces(s.file)
	}
	var out []string
	for _, pkg := range slices.Sorted(maps.Keys(said)) {
		if !said[pkg] && !except.has(pkg) {
			out = append(out, pkg+" has no package comment: say in its doc.go what it is, what it is not and what may be called concurrently")
		}
	}
	return out
}

// introduces reports whether a file has a package comment in Go's form.
func introduces(f *ast.File) bool {
	text := f.Doc.Text()
	return strings.HasPrefix(text, "Package "+f.Name.Name+" ") || f.Name.Name == "main" && strings.HasPrefix(text, "Command ")
}

func TestPackagesAreDocumented(t *testing.T) { keep(t, packagesAreDocumented, nil) }

// exportedNamesAreDocumented checks that whoever uses a package need not read its code. Commands are exempt: nobody can
// import them. Generated code is exempt: its comments are in the definition.
func exportedNamesAreDocumented(ss []*source, except *exceptions) []string {
	var out []string
	for _, s := range ss {
		if s.test || s.generated || within(s.pkg(), "cmd") {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				if !except.has(s.pkg() + "." + name.Name) {
					out = append(out, s.at(name)+" exports "+name.Name+" without a comment: say what it is, its units and its edge cases")
				}
			}
		}
	}
	return out
}

// undocumented lists the exported names of a declaration that nothing is said about.
func undocumented(d ast.Decl) []*ast.Ident {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			return []*ast.Ident{d.Name}
		}
	case *ast.GenDecl:
		if d.Doc != nil || d.Tok == token.IMPORT {
			return nil // one comment may introduce a group
		}
		var out []*ast.Ident
		for _, spec := range d.Specs {
			out = append(out, silent(spec)...)
		}
		return out
	}
	return nil
}

func silent(spec ast.Spec) []*ast.Ident {
	var names []*ast.Ident
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Doc == nil && s.Comment == nil {
			names = []*ast.Ident{s.Name}
		}
	case *ast.ValueSpec:
		if s.Doc == nil && s.Comment == nil {
			names = s.Names
		}
	}
	return slices.DeleteFunc(slices.Clone(names), func(n *ast.Ident) bool { return !n.IsExported() })
}

// exportedReceiver reports whether a function can be reached from outside: it has no receiver, or an exported one.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) { keep(t, exportedNamesAreDocumented, nil) }
