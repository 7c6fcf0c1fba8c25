package local

import (
	"os"
	"testing"
)

// Between creating and locking, a new file looks like a dead writer's. Two
// sweepers that do nothing else take what they can; no writer may lose a file
// that it was given.
func TestSweepersAndWriters(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	l := newLayout(root.Name(), LayoutOptions{})
	stop, stopped := make(chan bool), make(chan bool)
	const sweepers = 2
	for range sweepers {
		go func() {
			defer func() { stopped <- true }()
			for {
				select {
				case <-stop:
					return
				default:
					sweep(root)
				}
			}
		}()
	}
	lost := 0
	for range 1000 {
		f, err := l.newIngest(root)
		if err != nil {
			t.Error(err)
			break
		}
		if !isNamed(root, f.name, f.File) {
			lost++
		}
		f.discard()
	}
	close(stop)
	for range sweepers {
		<-stopped
	}
	if lost > 0 {
		t.Errorf("%d files were taken from their writers", lost)
	}
}
