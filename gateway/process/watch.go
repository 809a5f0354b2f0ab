package process

import (
	"io/fs"
	"os"
	"slices"
)

// Files are watched for changes by looking at them: see [Files.Changed].
type Files struct {
	stat  func(string) (fs.FileInfo, error)
	files []*file
}

type file struct {
	path    string
	known   fs.FileInfo // what was last reported, or there at the start; nil: no file
	last    fs.FileInfo // what was there at the last look
	pending bool        // last is not known
}

// Watch begins to watch files, as they are now. Symbolic links are followed, so that the change of one is the change
// of the file.
func Watch(paths []string) *Files {
	w := &Files{stat: os.Stat}
	w.Follow(paths)
	return w
}

// Follow watches other files. Those that were watched before go on.
func (w *Files) Follow(paths []string) {
	var next []*file
	for _, path := range paths {
		i := slices.IndexFunc(w.files, func(f *file) bool { return f.path == path })
		if i >= 0 {
			next = append(next, w.files[i])
			continue
		}
		now := w.look(path)
		next = append(next, &file{path: path, known: now, last: now})
	}
	w.files = next
}

// Changed looks at the files, and returns the paths of those that have changed and were found the same twice since:
// what is being written is not read half-way, and files that belong together are changed together. So a call in
// which any file has changed reports none.
func (w *Files) Changed() (paths []string) {
	settled := true
	for _, f := range w.files {
		now := w.look(f.path)
		if !sameFile(now, f.last) {
			settled = false
		}
		f.last, f.pending = now, !sameFile(now, f.known)
	}
	if !settled {
		return nil
	}
	for _, f := range w.files {
		if f.pending {
			f.known, f.pending = f.last, false
			paths = append(paths, f.path)
		}
	}
	return paths
}

func (w *Files) look(path string) fs.FileInfo {
	info, err := w.stat(path)
	if err != nil {
		return nil // gone, or being replaced
	}
	return info
}

// sameFile tells whether nothing has happened to a file. A file that is replaced keeps neither its inode nor its time.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
