package asynqmon

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// Under /n/NAME/ asynqmon shows only that namespace; at the top it shows all queues.

// queueOf returns the queue of a request, if any.
func queueOf(r *http.Request) (queue string, ok bool) {
	rest, ok := strings.CutPrefix(r.URL.Path, asynqmonPath+"/api/queues/")
	queue, _, _ = strings.Cut(rest, "/")
	queue, _, _ = strings.Cut(queue, ":")
	return queue, ok
}

// foreignQueue returns the queue of a request, if it is of another namespace.
func (a *UI) foreignQueue(r *http.Request) (queue string, foreign bool) {
	queue, ok := queueOf(r)
	if !ok || a.o.Base == "" {
		return "", false
	}
	return queue, !slices.Contains(a.o.Namespace.Queues(), queue)
}

// own removes from the lists of an answer what is of other namespaces. The error is about the answer.
func (a *UI) own(r *http.Request, got *answer) error {
	if a.o.Base == "" || got.status != http.StatusOK {
		return nil
	}
	queues := a.o.Namespace.Queues()
	list, isOwn := "", func(json.RawMessage) bool { return false }
	switch strings.TrimPrefix(r.URL.Path, asynqmonPath+"/api/") {
	case "queues":
		list, isOwn = "queues", func(text json.RawMessage) bool {
			var q struct{ Queue string }
			return json.Unmarshal(text, &q) == nil && slices.Contains(queues, q.Queue)
		}
	case "servers":
		list, isOwn = "servers", func(text json.RawMessage) bool {
			var s struct {
				Queues map[string]int `json:"queue_priorities"`
			}
			err := json.Unmarshal(text, &s)
			return err == nil && slices.ContainsFunc(queues, func(q string) bool { return s.Queues[q] > 0 })
		}
	case "scheduler_entries": // tiwsnap has none
		list = "entries"
	case "queue_stats":
		var all struct {
			Stats map[string]json.RawMessage `json:"stats"`
		}
		if err := json.Unmarshal(got.body.Bytes(), &all); err != nil {
			return err
		}
		for queue := range all.Stats {
			if !slices.Contains(queues, queue) {
				delete(all.Stats, queue)
			}
		}
		return got.encode(all)
	default:
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(got.body.Bytes(), &all); err != nil {
		return err
	}
	some := []json.RawMessage{}
	if err := json.Unmarshal(all[list], &some); err != nil {
		return err
	}
	some = slices.DeleteFunc(some, func(text json.RawMessage) bool { return !isOwn(text) })
	text, err := json.Marshal(some)
	if err != nil {
		return err
	}
	all[list] = text
	return got.encode(all)
}

// encode sets the body to v.
func (a *answer) encode(v any) error {
	text, err := json.Marshal(v)
	a.body = *bytes.NewBuffer(text)
	return err
}
