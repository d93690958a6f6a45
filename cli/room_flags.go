package cli

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tiwsnap/tasks"
)

// roomFlags adds flags for the fields of a room, except RoomId, and returns a function
// that reads them.
func roomFlags(fs *pflag.FlagSet) func() tasks.Room {
	app := fs.Uint64("app", 0, "`number` of the application (SdkAppId)")
	callback := fs.String(
		"callback-url",
		"",
		"CallbackURL, the `URL` to notify of each result; default: TIWSNAP_TIW_CALLBACK_URL",
	)
	mode := fs.String("mode", "", "SnapshotMode: AllMarks or LatestMarksOnly")
	width := fs.Uint64("width", 0, "Whiteboard.Width in `pixels`, 0 to 2560 (default 1280)")
	height := fs.Uint64("height", 0, "Whiteboard.Height in `pixels`, 0 to 2560 (default 720)")
	params := fs.String("init-params", "", "Whiteboard.InitParams, a `JSON` document")
	uin := fs.Uint64("cos-uin", 0, "COS.Uin, the `number` of the account that owns the bucket")
	region := fs.String("cos-region", "", "COS.Region, such as ap-guangzhou")
	bucket := fs.String("cos-bucket", "",
		"COS.Bucket, as name-appid; without one Tencent deletes the images after 3 days")
	dir := fs.String("cos-target-dir", "", "COS.TargetDir, a folder in the bucket")
	domain := fs.String("cos-domain", "", "COS.Domain, a CDN domain")
	labels := fs.StringToString("label", nil, "`NAME=VALUE` copied to the results; may be repeated")
	fs.Lookup("label").DefValue = "" // or the help shows "(default [])"
	return func() tasks.Room {
		r := tasks.Room{SdkAppId: *app, CallbackURL: *callback, SnapshotMode: *mode}
		if fs.Changed("width") || fs.Changed("height") || *params != "" {
			r.Whiteboard = &tasks.Whiteboard{InitParams: *params}
			if fs.Changed("width") {
				r.Whiteboard.Width = width
			}
			if fs.Changed("height") {
				r.Whiteboard.Height = height
			}
		}
		if *uin != 0 || *region != "" || *bucket != "" || *dir != "" || *domain != "" {
			r.COS = &tasks.COS{Uin: *uin, Region: *region, Bucket: *bucket, TargetDir: *dir, Domain: *domain}
		}
		if len(*labels) > 0 {
			r.Label = *labels
		}
		return r
	}
}

// checkDefaults checks the defaults of a class list. Required fields may be missing,
// because the rows can have them. The error has an exit code.
func checkDefaults(cmd *cobra.Command, r tasks.Room) error {
	whole := r.Over(tasks.Room{SdkAppId: 1, COS: &tasks.COS{Uin: 1, Region: "r", Bucket: "b"}})
	whole.RoomId = 1
	if err := whole.Validate(); err != nil {
		return fail(exitUsage, "%w: see %s -h", err, cmd.CommandPath())
	}
	return nil
}
