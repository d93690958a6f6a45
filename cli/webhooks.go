package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hibiken/asynq"
	"github.com/spf13/cobra"

	"tiwsnap/config"
	"tiwsnap/tasks"
	"tiwsnap/webhook"
)

func newWebhooks(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhooks",
		Short: "List webhooks that could not be delivered",
		Long: `List webhooks, and calls of CallbackURLs, that could not be delivered. Delivery fails
after 24 hours of retries, after a redirect or 410 Gone, or if the receiver is not
allowed (TIWSNAP_WEBHOOK_ALLOW and _PRIVATE). The newest 10,000 are kept for 90 days.

Receivers that answered 410 Gone are listed on stderr. They get no more webhooks.`,
		Example: `  tiwsnap webhooks
  tiwsnap webhooks -o jsonl | jq -r .receiver | sort | uniq -c`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, _ []string) error {
		all, err := deadWebhooks(c)
		if err != nil {
			return c.redisError(err)
		}
		gone, err := c.outbox().ListGone(cmd.Context())
		if err != nil {
			return c.redisError(err)
		}
		for _, g := range gone {
			fmt.Fprintf(e.stderr, "%s answered 410 Gone at %s and gets no more webhooks %s; resend one of them to "+
				"change that\n",
				g.Host, formatTime(g.Since), goneOf(g.Batch))
		}
		return printDead(e, all, *output)
	})
	cmd.AddCommand(newResend(e))
	return cmd
}

// goneOf describes the webhooks that a receiver no longer gets after 410 Gone.
func goneOf(batch string) string {
	if batch == "" {
		return "of the default receiver"
	}
	return "of batch " + batch
}

func newResend(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resend ID... | --all",
		Short: "Resend webhooks that could not be delivered",
		Long: `Resend webhooks that could not be delivered, with the current state of their snapshot
or batch. A webhook whose 24 hours are over is tried once.

Resending also unblocks receivers that answered 410 Gone: those of the given webhooks,
or all of them with --all. Exit code 1 if there is nothing to resend.`,
		Example: `  tiwsnap webhooks resend --all
  tiwsnap webhooks resend n-01hqx5mz7k3v9t2b8n4c6d0f1g`,
	}
	all := cmd.Flags().Bool("all", false, "resend all that \"tiwsnap webhooks\" lists")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if *all == (len(args) > 0) {
			return fail(exitUsage, "give the ids of webhooks, or --all")
		}
		return nil
	}
	output := outputFlag(cmd, "table", "json", "jsonl")
	config.Flags(cmd.Flags(), "redis.url", "namespace")
	cmd.RunE = withRedis(e, func(cmd *cobra.Command, c *connection, ids []string) error {
		inspector := asynq.NewInspectorFromRedisClient(c.rdb)
		if !*all {
			return eachID(e, c, ids, *output, func(id string) (string, bool, error) {
				said, done, err := resend(cmd.Context(), c, inspector, id)
				if done && err == nil {
					c.audit(e, "resend-webhook", id, "")
				}
				return said, done, err
			})
		}
		return eachID(e, c, []string{"all"}, *output, func(string) (string, bool, error) {
			if err := c.outbox().ReturnAll(cmd.Context()); err != nil {
				return "", false, err
			}
			dead, err := inspector.ListArchivedTasks(c.cfg.Namespace.QueueWebhooks(), asynq.PageSize(1))
			if errors.Is(err, asynq.ErrQueueNotFound) || err == nil && len(dead) == 0 {
				return "nothing to resend: all webhooks were delivered", false, nil
			}
			if err != nil {
				return "", false, err
			}
			n, err := inspector.RunAllArchivedTasks(c.cfg.Namespace.QueueWebhooks())
			if err == nil {
				c.audit(e, "resend-webhooks", "", strconv.Itoa(n))
			}
			return fmt.Sprintf("%d queued for delivery", n), true, err
		})
	})
	return cmd
}

// resend queues one webhook for delivery. The error exits with exitUsage, or is one of
// Redis.
func resend(
	ctx context.Context, c *connection, inspector *asynq.Inspector, id string,
) (said string, done bool, err error) {
	info, err := inspector.GetTaskInfo(c.cfg.Namespace.QueueWebhooks(), id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		return "", false, fail(exitUsage,
			"there is no webhook %s: list undelivered ones with tiwsnap webhooks", plain(id))
	case err != nil:
		return "", false, err
	case info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateRetry:
		return "is being delivered, or was delivered", false, nil
	}
	// A payload that cannot be parsed has no receiver to unblock.
	if p, err := tasks.ParseNotify(info.Payload); err == nil {
		if err := c.outbox().Return(ctx, webhook.BatchOf(p)); err != nil {
			return "", false, err
		}
	}
	return "queued for delivery", true, inspector.RunTask(c.cfg.Namespace.QueueWebhooks(), id)
}

func (c *connection) outbox() *webhook.Outbox { return webhook.NewOutbox(c.rdb, c.cfg.Namespace) }

// deadWebhook is a webhook that is no longer retried.
type deadWebhook struct {
	ID       string    `json:"id"`
	Event    string    `json:"event"`
	Ref      string    `json:"ref"`
	Receiver string    `json:"receiver"` // host
	Tries    int       `json:"tries"`
	Error    string    `json:"error"`
	EndedAt  time.Time `json:"ended_at"` // end of the snapshot or batch
	DiedAt   time.Time `json:"died_at"`
}

// deadWebhooks returns the undelivered webhooks, newest failure first.
func deadWebhooks(c *connection) ([]deadWebhook, error) {
	const page = 500
	inspector := asynq.NewInspectorFromRedisClient(c.rdb)
	all := []deadWebhook{}
	for n := 1; ; n++ {
		infos, err := inspector.ListArchivedTasks(c.cfg.Namespace.QueueWebhooks(), asynq.PageSize(page), asynq.Page(n))
		if err != nil && !errors.Is(err, asynq.ErrQueueNotFound) {
			return nil, err
		}
		for _, info := range infos {
			// A payload that cannot be parsed is listed, too, with empty fields.
			p, _ := tasks.ParseNotify(info.Payload)
			all = append(all, deadWebhook{
				ID: info.ID, Event: p.Type, Ref: p.Ref, Receiver: receiver(c.cfg, p.URL), Tries: info.Retried + 1,
				Error: info.LastErr, EndedAt: time.UnixMilli(p.At).UTC(), DiedAt: info.LastFailedAt.UTC(),
			})
		}
		if len(infos) < page {
			return all, nil
		}
	}
}

// receiver returns the host of a URL without its path, which may contain a key. An empty
// URL is the default receiver.
func receiver(c config.Config, own string) string {
	if own == "" {
		own = c.Webhook.URL.Reveal()
	}
	u, err := url.Parse(own)
	if err != nil || u.Host == "" {
		return "default"
	}
	return webhook.Host(u)
}

func printDead(e env, all []deadWebhook, output string) error {
	switch output {
	case "json":
		return printJSON(e.stdout, all, true)
	case "jsonl":
		return printLines(e.stdout, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(e.stderr, "no undelivered webhooks")
		return nil
	}
	rows := [][]string{{"ID", "EVENT", "REF", "RECEIVER", "TRIES", "DIED", "LAST ERROR"}}
	for _, d := range all {
		rows = append(rows, []string{d.ID, d.Event, d.Ref, d.Receiver, strconv.Itoa(d.Tries), formatTime(d.DiedAt), d.Error})
	}
	return printTable(e.stdout, rows)
}

// newSender returns the webhook settings of the worker and a function that closes the
// sender. The error has an exit code.
func newSender(c config.Config) (webhook.Subscription, func(), error) {
	s := c.Webhook
	if !s.On() {
		return webhook.Subscription{}, func() {}, nil
	}
	o := webhook.Options{Hosts: s.Allow, HTTP: s.HTTP, Private: s.Private}
	for _, secret := range []config.Secret{s.Secret, s.SecretOld} {
		if !secret.Empty() {
			key, err := webhook.ParseSecret(secret.Reveal())
			if err != nil {
				return webhook.Subscription{}, nil, fail(exitConfig, "webhook secret %w", err)
			}
			o.Secrets = append(o.Secrets, key)
		}
	}
	if !s.URL.Empty() {
		u, err := webhook.ParseURL(s.URL.Reveal(), s.HTTP)
		if err != nil {
			return webhook.Subscription{}, nil, fail(exitConfig, "webhook URL %w", err)
		}
		o.Hosts = append(slices.Clone(o.Hosts), webhook.Host(u))
	}
	sender, err := webhook.New(o)
	if err != nil {
		return webhook.Subscription{}, nil, fail(exitConfig, "%w", err)
	}
	return webhook.Subscription{
		Sender: sender, URL: s.URL.Reveal(),
		Snapshots: slices.Contains(s.Events, "snapshot"), Batches: slices.Contains(s.Events, "batch"),
		Images:    slices.Contains(s.Events, "images"),
		Schedules: slices.Contains(s.Events, "schedule"),
	}, sender.Close, nil
}
