package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// kindTagList is a server of tag lists alone: a registry that has a hundred
// thousand tags takes longer to fill than all else here takes. The name of a
// repository is the number of its tags.
const kindTagList = "tag list"

// tagPage is the most tags that it gives at once, as many registries have it.
const tagPage = 1000

func startTagList() (*registry, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: http.HandlerFunc(listTags)}
	go func() { _ = server.Serve(l) }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return &registry{kind: kindTagList, host: "localhost:" + port, end: func() { _ = server.Close() }}, nil
}

// tagName is the tag of a number.
const tagName = "v%07d"

// listTags answers GET /v2/N/tags/list (distribution-spec "Listing tags").
func listTags(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), "/tags/list")
	total, err := strconv.Atoi(name)
	if !ok || err != nil {
		http.NotFound(w, r)
		return
	}
	page := tagPage
	if n, err := strconv.Atoi(r.FormValue("n")); err == nil && n < page {
		page = n
	}
	first := 0
	if last := r.FormValue("last"); last != "" {
		if _, err := fmt.Sscanf(last, tagName, &first); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		first++
	}
	tags := []string{}
	for i := first; i < min(first+page, total); i++ {
		tags = append(tags, fmt.Sprintf(tagName, i))
	}
	if first+page < total && len(tags) > 0 {
		next := url.Values{"n": {strconv.Itoa(page)}, "last": {tags[len(tags)-1]}}
		w.Header().Set("Link", fmt.Sprintf(`<%s?%s>; rel="next"`, r.URL.Path, next.Encode()))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": name, "tags": tags})
}
