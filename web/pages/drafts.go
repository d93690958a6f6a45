package pages

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tiwsnap/web"
	"tiwsnap/web/api"
)

// A draft is a list that a person has uploaded and not enqueued yet. It is stored in Redis, compressed, so that any
// process can show its faults and enqueue it.
const (
	// maxDraft is the size of a list in bytes, before and after compression: half a million plain rows. Longer ones
	// need the API or the command line.
	maxDraft = 16 << 20
	// draftLife is how long a draft is kept.
	draftLife = time.Hour
)

// draft is a list and its options.
type draft struct {
	By   string       `json:"by"`   // the principal; others do not see it
	Name string       `json:"name"` // of the file
	Head api.ListHead `json:"head"` // its options
}

// keepDraft compresses and stores a list. The error is a *Problem, or that of Redis.
func (p *Pages) keepDraft(ctx context.Context, d draft, list io.Reader) (id string, err error) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	n, err := io.Copy(z, io.LimitReader(list, maxDraft+1))
	if err != nil {
		return "", err
	}
	z.Close() // to a buffer
	switch {
	case n == 0:
		return "", web.Invalid("list", "is empty: choose a file or paste rows")
	case n > maxDraft || packed.Len() > maxDraft:
		return "", web.NewProblem(http.StatusRequestEntityTooLarge, web.CodeTooLarge,
			"the list is larger than %d MB: send it by POST /v1/batches or tiwsnap enqueue batch", maxDraft>>20)
	}
	id = strings.ToLower(rand.Text()[:20])
	return id, p.setDraft(ctx, id, d, packed.Bytes())
}

// setDraft stores a draft. Without a list it keeps the stored one.
func (p *Pages) setDraft(ctx context.Context, id string, d draft, packed []byte) error {
	d.By = web.PrincipalOf(ctx).Key()
	head, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encode draft: %w", err)
	}
	values := []any{"draft", head}
	if packed != nil {
		values = append(values, "list", packed)
	}
	_, err = p.api.Redis.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.HSet(ctx, p.api.Namespace.Draft(id), values...)
		pipe.Expire(ctx, p.api.Namespace.Draft(id), draftLife)
		return nil
	})
	return err
}

// draft returns a draft of the principal and its list. The error is a *Problem, or that of Redis.
func (p *Pages) draft(ctx context.Context, id string) (d draft, list io.ReadCloser, err error) {
	gone := web.NewProblem(http.StatusNotFound, web.CodeNotFound, "this list has expired: upload it again")
	got, err := p.api.Redis.HMGet(ctx, p.api.Namespace.Draft(id), "draft", "list").Result()
	if err != nil {
		return d, nil, err
	}
	head, ok1 := got[0].(string)
	packed, ok2 := got[1].(string)
	if !ok1 || !ok2 {
		return d, nil, gone
	}
	if err := json.Unmarshal([]byte(head), &d); err != nil {
		return d, nil, fmt.Errorf("decode draft: %w", err)
	}
	if d.By != web.PrincipalOf(ctx).Key() {
		return d, nil, gone
	}
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		return d, nil, errors.Join(errors.New("a draft cannot be unpacked"), err)
	}
	return d, z, nil
}

// dropDraft deletes a draft. If that fails, it expires.
func (p *Pages) dropDraft(ctx context.Context, id string) {
	p.api.Redis.Unlink(ctx, p.api.Namespace.Draft(id))
}
