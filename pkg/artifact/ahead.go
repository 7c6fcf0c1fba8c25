package artifact

import "io"

// aheadPieces is how many pieces of copyBuffer bytes are read ahead at most.
const aheadPieces = 4

// ahead reads what is behind it in a goroutine of its own, so that making the
// bytes and using them overlap. It has an end: Close.
type ahead struct {
	full chan piece  // closed when nothing comes any more
	free chan []byte // buffers that were used
	stop chan struct{}

	now  piece
	left []byte // of now
}

// piece is bytes, and the error that comes after them.
type piece struct {
	bytes []byte
	err   error
}

func newAhead(r io.Reader) *ahead {
	a := &ahead{full: make(chan piece, aheadPieces), free: make(chan []byte, aheadPieces), stop: make(chan struct{})}
	for range aheadPieces {
		a.free <- nil // which is made when it is needed: most directories are small
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.full)
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.stop:
			return
		}
		if buf == nil {
			buf = make([]byte, copyBuffer)
		}
		n, err := 0, error(nil)
		for n < len(buf) && err == nil {
			var m int
			m, err = r.Read(buf[n:])
			n += m
		}
		a.full <- piece{buf[:n], err} // there is room for all pieces
		if err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.left) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.now.bytes != nil {
			a.free <- a.now.bytes[:cap(a.now.bytes)]
		}
		a.now = <-a.full
		a.left = a.now.bytes
	}
	n := copy(p, a.left)
	a.left = a.left[n:]
	return n, nil
}

// Close stops the reading and waits until nothing reads any more.
func (a *ahead) Close() {
	close(a.stop)
	for range a.full { // until it is closed
	}
}
