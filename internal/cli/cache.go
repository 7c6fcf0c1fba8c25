package cli

import (
	"path/filepath"
	"runtime"
)

// cacheName is the directory below the user's caches.
const cacheName = "stet"

// cacheDir is where uploads that broke off, and the places of blobs, are noted:
// below the directory that os.UserCacheDir gives. Nothing is lost with it.
func (a *app) cacheDir() string {
	switch runtime.GOOS {
	case "windows":
		if dir := a.getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, cacheName)
		}
	case "darwin":
		return filepath.Join(a.home(), "Library", "Caches", cacheName)
	}
	if dir := a.getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, cacheName)
	}
	return filepath.Join(a.home(), ".cache", cacheName)
}
