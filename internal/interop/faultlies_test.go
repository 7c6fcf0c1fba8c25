package interop

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
	"unsafe"
)

// settle is a time in which a client notices that a connection ended.
const settle = 30 * time.Millisecond

// drain waits until the kernel has handed over all that passed: a RST would
// take back what is on its way, and nobody could count what arrived.
func (x *exchange) drain() {
	conn, _ := x.r.Context().Value(connKey{}).(*net.TCPConn)
	raw, err := conn.SyscallConn()
	if err != nil {
		return
	}
	for range 200 {
		var left int32
		_ = raw.Control(func(fd uintptr) {
			_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&left)))
		})
		if left == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// strike tells who waits for it that it happens now.
func (x *exchange) strike() {
	select {
	case x.proxy.struck <- struct{}{}:
	default:
	}
}

// break_ does what the fault does; the handler is over after it.
func (x *exchange) break_() {
	p := x.proxy
	conn, _ := x.r.Context().Value(connKey{}).(*net.TCPConn)
	switch x.fault.what {
	case cut: // first the FIN, on which a client closes; what it still sends would be answered with a RST
		_ = conn.CloseWrite()
		time.Sleep(settle)
	case reset:
		_ = conn.SetLinger(0)
		_ = conn.Close()
	case stall:
		select {
		case <-x.r.Context().Done():
		case <-p.closed:
		case <-time.After(time.Minute):
		}
	case expired:
		p.mu.Lock()
		p.generation++
		p.mu.Unlock()
		x.w.Header().Set("Www-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",error="invalid_token"`, p.host))
		x.refuse(http.StatusUnauthorized, "UNAUTHORIZED")
		return
	case status500:
		x.refuse(http.StatusInternalServerError, "UNKNOWN")
		return
	case status503:
		x.refuse(http.StatusServiceUnavailable, "UNAVAILABLE")
		return
	case later, laterDate, muchLater:
		x.throttle()
		return
	}
	panic(http.ErrAbortHandler)
}

// refuse answers with an error as registries do.
func (x *exchange) refuse(status int, code string) {
	x.status = status
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(status)
	fmt.Fprintf(x.w, `{"errors":[{"code":%q,"message":"this is a test"}]}`, code)
}

// throttle answers 429 and notes until when nobody may come.
func (x *exchange) throttle() {
	now := time.Now()
	until, value := now.Add(retryIn), fmt.Sprint(int(retryIn.Seconds()))
	switch x.fault.what {
	case laterDate: // has no parts of a second
		now = now.Truncate(time.Second)
		until = now.Add(2 * time.Second)
		value = until.UTC().Format(http.TimeFormat)
	case muchLater:
		until, value = now.Add(time.Hour), "3600"
	}
	x.proxy.mu.Lock()
	x.proxy.quiet[x.request()] = until
	x.proxy.mu.Unlock()
	x.w.Header().Set("Retry-After", value)
	x.refuse(http.StatusTooManyRequests, "TOOMANYREQUESTS")
}

// lieAsking changes what the registry is asked for, so that it answers
// something else than what the client wants.
func (x *exchange) lieAsking(out *http.Request) {
	if x.fault == nil {
		return
	}
	switch x.fault.what {
	case wholeFor:
		out.Header.Del("Range")
	case otherPart, otherBytes:
		var from, to int64
		if n, _ := fmt.Sscanf(out.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 {
			out.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from+1, to+1))
		} else {
			out.Header.Set("Range", fmt.Sprintf("bytes=%d-", from-1))
		}
	}
}

// lieAnswering changes the head of an answer.
func (x *exchange) lieAnswering(resp *http.Response) {
	var first, last, size int64
	if n, _ := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size); n != 3 || x.fault == nil {
		return
	}
	switch x.fault.what {
	case wrongRange:
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first+1, last, size))
	case otherBytes:
		asked := x.r.Header.Get("Range")
		if n, _ := fmt.Sscanf(asked, "bytes=%d-%d", &first, &last); n < 2 {
			last = size - 1
			// One byte more came than there is room for: the last goes.
			raw, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			raw = raw[:last-first+1]
			resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		}
		resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
	}
}
