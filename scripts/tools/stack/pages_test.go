package stack

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// pages are all of the repository, by their paths from the top.
func pages(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(at(), func(path string, d fs.DirEntry, err error) error {
		name := d.Name()
		if err == nil && d.IsDir() && path != at() && (strings.HasPrefix(name, ".") || name == "node_modules") {
			return filepath.SkipDir
		}
		if err == nil && filepath.Ext(name) == ".md" {
			from, _ := filepath.Rel(at(), path)
			all = append(all, filepath.ToSlash(from))
		}
		return err
	})
	if err != nil || len(all) < 20 {
		t.Fatal(all, err)
	}
	return all
}

// A link to a file leads to one that is there, and one into a page to a heading of it.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"`)
	code := regexp.MustCompile("(?s)```.*?```|`[^`\n]*`")
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(read(t, page), ""), -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(target, "#")
			to := filepath.Join(filepath.Dir(page), file)
			if file == "" {
				to = page
			}
			info, err := os.Stat(at(to))
			switch {
			case err != nil:
				t.Errorf("%s: there is no %s", page, target)
			case anchor != "" && info.IsDir():
				t.Errorf("%s: %s is a directory", page, target)
			case anchor != "" && filepath.Ext(to) == ".md" && !slices.Contains(headings(read(t, to)), anchor):
				t.Errorf("%s: %s has no heading #%s", page, to, anchor)
			}
		}
	}
}

// headings are a page's, as links name them: in lower case, of letters, digits and hyphens.
func headings(text string) (anchors []string) {
	odd := regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
		anchors = append(anchors, strings.ReplaceAll(odd.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return anchors
}

// Each room has a page, and no page is longer than one reads: 12 KB, the one at the top 10, the one for who runs engines 8.
func TestRoomsHavePages(t *testing.T) {
	rooms, err := os.ReadDir(at("gateway"))
	if err != nil {
		t.Fatal(err)
	}
	most := map[string]int{"README.md": 10 << 10, "gateway/README.md": 12 << 10, "compose/README.md": 12 << 10}
	for _, room := range rooms {
		if ofTests := []string{"behaviour", "integration", "testkit"}; room.IsDir() && !slices.Contains(ofTests, room.Name()) {
			most["gateway/"+room.Name()+"/README.md"] = 12 << 10
		}
	}
	most["gateway/inference/README.md"] = 8 << 10
	for page, bytes := range most {
		text, err := os.ReadFile(at(page))
		if err != nil || len(text) > bytes {
			t.Errorf("%s has %d bytes of %d: %v", page, len(text), bytes, err)
		}
	}
}
