// Command peers runs asynq behind common limiters, as their documentation
// shows them, for go run ./bench.
//
//	peers worker wiki|wait|redis_rate
//	peers enqueue
//
// Environment: PEER_REDIS (host:port), PEER_API (URL), PEER_PROCESSES. It prints
// "ready" when it is ready; "enqueue" then reads lines "COUNT FIRST" and answers each
// with "done".
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const limit = 20 // requests a second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "worker":
		err = work(ctx, args[1])
	case len(args) == 1 && args[0] == "enqueue":
		err = enqueue()
	default:
		err = errors.New("usage: peers worker wiki|wait|redis_rate, or peers enqueue")
	}
	if err != nil {
		log.Fatal("peers: ", err)
	}
}

// limited is the wiki's RateLimitError.
// See https://github.com/hibiken/asynq/wiki/Rate-Limiting.
type limited struct{ retryIn time.Duration }

func (e *limited) Error() string { return "rate limited" }

func isLimited(err error) bool {
	var l *limited
	return errors.As(err, &l)
}

func work(ctx context.Context, way string) error {
	gate, err := gateOf(way)
	if err != nil {
		return err
	}
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: os.Getenv("PEER_REDIS")}, asynq.Config{
		Concurrency:       limit,
		LogLevel:          asynq.ErrorLevel,
		TaskCheckInterval: 100 * time.Millisecond,
		ShutdownTimeout:   time.Second, // else those that wait for their limiter are waited for
		IsFailure:         func(err error) bool { return !isLimited(err) },
		RetryDelayFunc: func(n int, err error, t *asynq.Task) time.Duration {
			var l *limited
			if errors.As(err, &l) {
				return l.retryIn
			}
			return asynq.DefaultRetryDelayFunc(n, err, t)
		},
	})
	err = server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		err := gate(ctx)
		if err == nil {
			err = create(ctx, t.Payload())
		}
		if err != nil && !isLimited(err) {
			log.Print(err)
		}
		return err
	}))
	if err != nil {
		return err
	}
	fmt.Println("ready")
	<-ctx.Done()
	server.Shutdown()
	return nil
}

// gateOf is what a handler passes before it sends.
func gateOf(way string) (func(context.Context) error, error) {
	switch way {
	case "wiki":
		l := rate.NewLimiter(limit, limit)
		return func(context.Context) error {
			if !l.Allow() {
				return &limited{rand.N(10 * time.Second)}
			}
			return nil
		}, nil
	case "wait":
		n, err := strconv.Atoi(os.Getenv("PEER_PROCESSES"))
		if err != nil {
			return nil, fmt.Errorf("PEER_PROCESSES: %w", err)
		}
		return rate.NewLimiter(rate.Limit(limit)/rate.Limit(n), 1).Wait, nil
	case "redis_rate":
		l := redis_rate.NewLimiter(redis.NewClient(&redis.Options{Addr: os.Getenv("PEER_REDIS")}))
		return func(ctx context.Context) error {
			for {
				got, err := l.Allow(ctx, "snapshots", redis_rate.Limit{Rate: limit, Burst: 1, Period: time.Second})
				if err != nil || got.Allowed > 0 {
					return err
				}
				select {
				case <-time.After(got.RetryAfter):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}, nil
	}
	return nil, fmt.Errorf("there is no way %q", way)
}

// create asks for one snapshot.
func create(ctx context.Context, body []byte) error {
	endpoint, err := url.Parse(os.Getenv("PEER_API"))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	scope := now.Format(time.DateOnly) + "/tiw/tc3_request"
	canonical := "POST\n/\n\ncontent-type:application/json\nhost:" + endpoint.Host + "\n\ncontent-type;host\n" + hash(body)
	key := []byte("TC3simulator")
	for part := range strings.SplitSeq(scope, "/") {
		key = mac(key, part)
	}
	signature := mac(key, fmt.Sprintf("TC3-HMAC-SHA256\n%d\n%s\n%s", now.Unix(), scope, hash([]byte(canonical))))

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "TC3-HMAC-SHA256 Credential=simulator/"+scope+
		", SignedHeaders=content-type;host, Signature="+hex.EncodeToString(signature))
	req.Header.Set("X-TC-Action", "CreateSnapshotTask")
	req.Header.Set("X-TC-Version", "2019-09-19")
	req.Header.Set("X-TC-Region", "ap-singapore")
	req.Header.Set("X-TC-Timestamp", strconv.FormatInt(now.Unix(), 10))
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Response struct{ Error struct{ Code string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	switch code := answer.Response.Error.Code; code {
	case "":
		return nil
	case "RequestLimitExceeded":
		return &limited{time.Second}
	default:
		return errors.New(code)
	}
}

var client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: limit}}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func enqueue() error {
	queue := asynq.NewClient(asynq.RedisClientOpt{Addr: os.Getenv("PEER_REDIS"), PoolSize: parallel})
	defer queue.Close()
	if err := queue.Ping(); err != nil {
		return err
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var count, first uint64
		if _, err := fmt.Sscan(in.Text(), &count, &first); err != nil {
			return err
		}
		if err := put(queue, first, count); err != nil {
			return err
		}
		fmt.Println("done")
	}
	return in.Err()
}

// parallel is how many tasks are put on the queue at once.
const parallel = 32

func put(queue *asynq.Client, first, count uint64) error {
	errs := make(chan error, parallel)
	var all sync.WaitGroup
	for p := range uint64(parallel) {
		all.Go(func() {
			for i := p; i < count; i += parallel {
				payload := fmt.Appendf(nil, `{"SdkAppId":1400123480,"RoomId":%d,"Whiteboard":{}}`, first+i)
				if _, err := queue.Enqueue(asynq.NewTask("snapshot", payload, asynq.MaxRetry(1000))); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs
}
