package pages

// ofAPI returns a text of the description of the API in the language. A text without a translation stays English.
func (l lang) ofAPI(s string) string {
	if words, ok := apiTexts[s]; ok && l == chinese {
		return words
	}
	return s
}

// apiTexts are the texts of the description of the API that its page shows, and their Chinese.
var apiTexts = map[string]string{
	// Roles
	"Needs the role view.":            "需要角色 view。",
	"Needs the role produce.":         "需要角色 produce。",
	"Needs the role operate.":         "需要角色 operate。",
	"Needs the role view or produce.": "需要角色 view 或 produce。",

	// Snapshots
	"Enqueue one room, ahead of every batch":                              "提交一个房间，优先于所有批次",
	"The state and result of a snapshot":                                  "快照的状态与结果",
	"An image of a snapshot, or with width a thumbnail of it":             "快照的一张图片；给出 width 时为其缩略图",
	"Cancel a snapshot, unless Tencent has accepted it":                   "取消快照，除非腾讯云已受理",
	"Retry a snapshot that failed, was canceled or is held for review":    "重试失败、已取消或待人工确认的快照",
	"Find snapshots by RoomId, TaskID, RequestId or the value of a label": "按 RoomId、TaskID、RequestId 或标签值查找快照",

	// Batches
	"Enqueue a batch: a list of rooms of any size": "提交一个批次：任意长度的房间名单",
	"All batches":          "所有批次",
	"The state of a batch": "批次的状态",
	"The results of a batch: a page, or the whole list":            "批次的结果：一页或整个列表",
	"All images of a batch with its lists, as a ZIP archive":       "批次的所有图片及列表（ZIP 压缩包）",
	"Follow a batch to its end by server-sent events":              "通过 server-sent events 跟踪批次直到结束",
	"Cancel a batch, as far as Tencent has not accepted it":        "取消批次中腾讯云尚未受理的部分",
	"Pause a batch; the few seconds of work on the queue continue": "暂停批次；队列中几秒钟的任务会继续",
	"Resume a paused batch":                                        "继续已暂停的批次",
	"Retry the failed snapshots of a batch":                        "重试批次中失败的快照",
	"Enqueue the rooms of a batch as a new one":                    "将批次的房间提交为新批次",

	// Failures, schedules and webhooks
	"Failures by error code: count, meaning, fix":                      "按错误码统计的失败：数量、含义与处理",
	"Retry the failed snapshots of all batches":                        "重试所有批次中失败的快照",
	"The schedules: next ticks, and the outcome of the last one":       "定时任务：接下来的运行时间和上次运行的结果",
	"Enqueue the rooms of a schedule now":                              "立即提交定时任务的房间",
	"Pause a schedule":                                                 "暂停定时任务",
	"Resume a schedule; ticks missed during the pause are not made up": "继续定时任务；暂停期间错过的不再补做",
	"Undelivered webhooks, and those that wait for a retry":            "投递失败和等待重试的通知",
	"Resend an undelivered webhook":                                    "重发一个投递失败的通知",
	"Resend all undelivered webhooks":                                  "重发所有投递失败的通知",

	// The system
	"The running workers, and settings in which they differ": "运行中的 worker，以及它们不同的设置",
	"The state of Redis":                           "Redis 的状态",
	"The audit log: who changed what, and when":    "操作记录：谁在何时做了什么",
	"The rate limits, and why sending is stopped":  "频率限制，以及发送停止的原因",
	"Set the rate limit of all workers":            "设置所有 worker 的频率限制",
	"Requests of the last 15 minutes, day or week": "最近 15 分钟、一天或一周的请求",
	"Stop all sending until it is started":         "停止所有发送，直到重新开始",
	"Start all sending, whatever has stopped it":   "开始所有发送，无论因何停止",
	"Follow everything by server-sent events":      "通过 server-sent events 跟踪所有变化",

	// The body of POST /v1/batches
	"The rooms: CSV with a header, .xlsx, JSON lines, or JSON. docs/lists.md says what is recognised.": "房间名单：" +
		"带表头的 CSV、.xlsx、JSON lines 或 JSON。可识别的内容见 docs/lists.md。",

	// Parameters: what is meant
	"Id of the batch":                              "批次 ID",
	"Id of the batch; default: a new one":          "批次 ID；默认：新 ID",
	"Id; default: the old id and the time":         "ID；默认：原 ID 加时间",
	"Id of the snapshot":                           "快照 ID",
	"Number of the image, from 1":                  "图片编号，从 1 开始",
	"Of a thumbnail, in pixels; it is a JPEG":      "缩略图的宽度（像素）；格式为 JPEG",
	"Of the webhook":                               "通知的 ID",
	"Of the schedule":                              "定时任务的名称",
	"RoomId, TaskID, RequestId or label value":     "RoomId、TaskID、RequestId 或标签值",
	"Requests per second; 0: as configured":        "每秒请求数；0：按配置",
	"Shown wherever the stop is shown":             "停止的原因，与停止状态一起显示",
	"How far back":                                 "时间范围",
	"A repeat with the same key creates nothing":   "使用相同的键重复请求不会再次创建",
	"As browsers send it where a stream broke off": "连接中断后浏览器会自动发送",

	// Parameters: lists of rooms
	"Default for rows without one":                                   "未填写的行使用的默认值",
	"URL to notify at the end, if the configuration allows its host": "结束时通知的 URL，其主机须在配置中允许",
	"Enqueue nothing if any row is wrong":                            "有任何一行有问题时不提交",
	"Check the list and enqueue nothing: 200 with what is wrong":     "只检查名单，不提交：返回 200 和问题列表",
	"Of a text, such as gb18030; default: as recognised":             "文本的编码，例如 gb18030；默认：自动识别",
	"Name of the worksheet of an .xlsx file; default: the first":     ".xlsx 文件的工作表名称；默认：第一个",

	// Parameters: filters and pages
	"How many at most":                                             "最多返回的数量",
	"How many at most on a page of JSON":                           "JSON 一页最多返回的数量",
	"next of the previous page":                                    "上一页的 next",
	"next of the page before":                                      "上一页的 next",
	"next of the page before, of JSON":                             "上一页 JSON 的 next",
	"next of the previous answer: search more of the queued rooms": "上次响应的 next：继续查找排队的房间",
	"Number of the page":                                           "页码",
	"Only this state":                                              "只返回此状态",
	"failed: with failures":                                        "failed：有失败的批次",
	"waiting: will be retried; dead: given up":                     "waiting：会重试；dead：已放弃",
	"Only of this batch":                                           "只返回此批次的",
	"Only this error code; InternalError includes InternalError.Timeout": "只返回此错误码；InternalError " +
		"包括 InternalError.Timeout",
	"Only with this error code, as ClientError.NoImage": "只返回有此错误码的，例如 ClientError.NoImage",
	"Retry those held for review instead; this may create a second task of each": "改为重试待人工确认的快照；可能为每个快照" +
		"创建第二个任务",
	"Those held for review instead: the outcome of a request is unknown": "改为返回待人工确认的快照：请求结果未知",
	"Only those created then or later":                                   "只返回此时或之后创建的",
	"Only those created before":                                          "只返回此前创建的",
	"Only those with this text in their id or a label name":              "只返回 ID 或标签名中含有此文本的",
	"In place of the header Accept":                                      "代替请求头 Accept",
	"application/json: a page. JSON lines, CSV or .xlsx: the whole list": "application/json：一页。JSON lines、CSV 或 " +
		".xlsx：整个列表",
	"CSV for Excel: a byte order mark, a column for each image, times in tz": "供 Excel 使用的 CSV：带字节顺序标记，" +
		"每张图片一列，时间按 tz",
	"Of .xlsx and of CSV for Excel; default: UTC": ".xlsx 和供 Excel 使用的 CSV 的时区；默认：UTC",
}
