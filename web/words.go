package web

import (
	"fmt"

	"tiwsnap/tiw"
)

// entry is a line of the navigation: its name, which is that of its icon, and
// the path of its page.
type entry struct{ Name, Path string }

// Key is the text of the line.
func (e entry) Key() string { return "nav." + e.Name }

// navigation is what a viewer may look at, in groups.
func navigation(v view) [][]entry {
	if !v.Who.May(RoleView) {
		return [][]entry{{{"batches", "/batches"}}, {{"api", "/docs"}}}
	}
	return [][]entry{
		{{"now", "/"}, {"batches", "/batches"}, {"failures", "/failures"}, {"held", "/held"}},
		{{"schedules", "/schedules"}, {"webhooks", "/webhooks"}},
		{{"limit", "/limit"}, {"workers", "/workers"}, {"redis", "/redis"}, {"audit", "/audit"}},
		{{"queues", "/asynqmon/"}, {"api", "/docs"}},
	}
}

// explain is what an error code means, in the language.
func (l lang) explain(code string) tiw.Explanation {
	x := tiw.Explain(code)
	if l == chinese {
		x.Meaning, x.Fix = tiw.Chinese(code)
	}
	return x
}

// special are the texts of the catalog that are looked up elsewhere.
func (l lang) special(key string, args []any) (string, bool) {
	if len(args) != 1 {
		return "", false
	}
	switch key {
	case "code.meaning":
		return l.explain(fmt.Sprint(args[0])).Meaning, true
	case "code.fix":
		return l.explain(fmt.Sprint(args[0])).Fix, true
	}
	return "", false
}

// catalog is every text of the pages, in each language. Where a text is about a
// number that English tells from others, the words for one stand before "|".
var catalog = map[string][languages]string{
	"layout.skip":   {"Skip to the content", "跳到正文"},
	"layout.pages":  {"Pages", "页面"},
	"layout.menu":   {"Menu", "菜单"},
	"layout.sites":  {"Namespaces", "命名空间"},
	"layout.crumbs": {"Where this page belongs", "当前位置"},
	"layout.lost":   {"Connection lost. Showing stale data, reconnecting.", "连接已断开。显示的是旧数据，正在重新连接。"},
	"logout":        {"Log out", "退出"},
	"find.label": {
		"Find a room, a label, a TaskID, a RequestId, a snapshot or a batch", "查找房间、标签、TaskID、RequestId、快照或批次",
	},
	"find.hint":  {"Room, label, TaskID, batch …", "房间、标签、TaskID、批次……"},
	"zone.is":    {"Times: %s", "时区：%s"},
	"zone.label": {"Time zone", "时区"},
	"zone.set":   {"Set", "设置"},

	"nav.now":       {"Now", "现在"},
	"nav.batches":   {"Batches", "批次"},
	"nav.failures":  {"Failures", "失败"},
	"nav.held":      {"Held for review", "待人工确认"},
	"nav.schedules": {"Schedules", "定时任务"},
	"nav.webhooks":  {"Webhooks", "Webhook 通知"},
	"nav.limit":     {"Rate limit", "频率限制"},
	"nav.workers":   {"Workers", "Worker 进程"},
	"nav.redis":     {"Redis", "Redis"},
	"nav.audit":     {"Audit", "操作记录"},
	"nav.pictures":  {"Pictures", "图片"},
	"nav.find":      {"Find", "查找"},
	"nav.queues":    {"Queues", "队列"},
	"nav.api":       {"API", "API"},

	"time.now":     {"just now", "刚刚"},
	"time.ago":     {"%s ago", "%s前"},
	"time.in":      {"in %s", "%s后"},
	"time.s":       {"%d s", "%d 秒"},
	"time.m":       {"%d min %02d s", "%d 分 %02d 秒"},
	"time.h":       {"%d h %02d min", "%d 小时 %02d 分"},
	"time.d":       {"%d days", "%d 天"},
	"time.minutes": {"%d min", "%d 分钟"},
	"time.hours":   {"%d h", "%d 小时"},

	"login.title":    {"Log in", "登录"},
	"login.name":     {"Name", "用户名"},
	"login.password": {"Password", "密码"},
	"login.button":   {"Log in", "登录"},
	"login.wrong":    {"The name or the password is wrong.", "用户名或密码错误。"},
	"login.limited":  {"Too many attempts. Try again in %s s.", "尝试次数过多，请 %s 秒后再试。"},
	"login.nousers": {
		"No users are configured, only tokens for programs. Add one to http.users; this command makes the hash:",
		"没有配置用户，只有程序用的令牌。请在 http.users 中添加；用此命令生成密码散列：",
	},

	"problem.who":          {"You are %s.", "当前用户：%s。"},
	"problem.first":        {"To the first page", "回到首页"},
	"problem.invalid":      {"Invalid request", "请求有误"},
	"problem.not-found":    {"Not found", "没有找到"},
	"problem.role":         {"You may not do that", "没有权限"},
	"problem.exists":       {"It exists already", "已经存在"},
	"problem.state":        {"Not possible any more", "当前状态不允许"},
	"problem.busy":         {"Too busy", "系统繁忙"},
	"problem.redis-away":   {"Redis does not answer", "Redis 没有响应"},
	"problem.redis-full":   {"Redis is full", "Redis 已满"},
	"problem.redis-evicts": {"Redis evicts keys", "Redis 会淘汰任务"},
	"problem.internal":     {"Internal error", "程序出错"},
	"problem.rate":         {"Too many requests", "请求过于频繁"},
	"problem.attempts":     {"Too many attempts", "尝试次数过多"},
	"problem.too-large":    {"Too large", "内容过大"},
	"problem.timeout":      {"It took too long", "超时"},
	"problem.cross-origin": {"A page of another site made the request", "请求来自其他网站"},
	"problem.unknown-host": {"Unknown host name", "未知的主机名"},
	"problem.no-disk":      {"No room for a temporary file", "没有临时文件空间"},
	"problem.credentials":  {"Log in", "请登录"},
	"problem.expired":      {"This link has expired", "链接已过期"},
	"problem.media-type":   {"Unsupported format", "格式无法识别"},
	"fault.line":           {"Line %s:", "第 %s 行："},

	"col.batch":     {"Batch", "批次"},
	"col.progress":  {"Progress", "进度"},
	"col.done":      {"Done", "完成"},
	"col.of":        {"of", "总数"},
	"col.failed":    {"Failed", "失败"},
	"col.rate":      {"Rate", "速率"},
	"col.left":      {"Left", "剩余"},
	"col.code":      {"Code", "错误码"},
	"col.snapshots": {"Snapshots", "快照"},
	"col.meaning":   {"What it means, what to do", "含义与处理"},
	"col.rooms":     {"Rooms", "房间"},
	"col.room":      {"Room", "房间"},
	"col.images":    {"Images", "图片"},
	"col.took":      {"Took", "用时"},
	"col.ended":     {"Ended", "结束"},
	"col.created":   {"Created", "创建"},
	"col.state":     {"State", "状态"},

	"n.noimage":  {"%s without an image", "%s 个没有图片"},
	"n.missing":  {"%s image missing|%s images missing", "缺少 %s 张图片"},
	"n.lost":     {"%s image lost|%s images lost", "%s 张图片丢失"},
	"n.images":   {"%s image|%s images", "%s 张图片"},
	"unit.rooms": {"room|rooms", "个房间"},

	"state.queued":    {"queued", "排队中"},
	"state.sending":   {"sending", "发送中"},
	"state.unknown":   {"outcome unknown", "结果未知"},
	"state.accepted":  {"accepted", "已受理"},
	"state.succeeded": {"succeeded", "成功"},
	"state.failed":    {"failed", "失败"},
	"state.canceled":  {"canceled", "已取消"},
	"state.held":      {"held for review", "待人工确认"},
	"batch.running":   {"running", "进行中"},
	"batch.paused":    {"paused", "已暂停"},
	"batch.canceled":  {"canceled", "已取消"},
	"batch.ended":     {"ended", "已结束"},
	"progress.says": {
		"%s succeeded, %s failed, %s canceled, %s in progress, %s waiting", "成功 %s，失败 %s，取消 %s，进行中 %s，等待 %s",
	},

	"now.troubles":    {"Trouble", "问题"},
	"now.used":        {"Requests in the last second", "最近一秒的请求"},
	"now.of":          {"of %s", "上限 %s"},
	"now.waiting":     {"Waiting", "等待中"},
	"now.stopped":     {"sending is stopped", "发送已停止"},
	"now.empty":       {"queue is empty", "队列为空"},
	"now.left":        {"sent in %s at the full rate", "全速约需 %s 发完"},
	"now.inwork":      {"In progress", "进行中"},
	"now.inwork.note": {"sent, or waiting for images", "已发送，或等待图片"},
	"now.open":        {"Open batches", "未结束的批次"},
	"now.noopen":      {"No batch is open.", "没有未结束的批次。"},
	"now.more":        {"and %s more", "还有 %s 个"},
	"now.failures":    {"Failures by code", "按错误码统计的失败"},
	"now.partial":     {"counted among the newest 1,000", "仅统计最近 1,000 条"},
	"now.nofailures":  {"Nothing has failed.", "没有失败。"},
	"now.ended":       {"Recently finished", "最近完成"},
	"now.away": {
		"Unexpected error from Redis. Accepted work is safe in its append-only file. Nothing is sent until it is back.",
		"Redis 没有正常响应。已接收的任务在其 AOF 范围内是安全的；恢复之前不会发送。",
	},

	"trouble.waits": {"Waits for:", "等待："},
	"trouble.next":  {"next at", "下次："},
	"trouble.fix":   {"What to do:", "处理："},
	"trouble.since": {"Since", "开始于"},

	"stop.form": {"Stop all sending …", "停止所有发送……"},
	"stop.form.says": {
		"All workers stop sending requests. Tasks that Tencent has accepted continue.",
		"所有 worker 不再发出请求；腾讯云已受理的任务继续。",
	},
	"stop.reason":      {"Reason", "原因"},
	"stop.button":      {"Stop all sending", "停止所有发送"},
	"start.button":     {"Start sending", "开始发送"},
	"stop.all":         {"Sending is stopped", "所有发送已停止"},
	"stop.resumed":     {"Sending is being resumed", "正在恢复发送"},
	"stop.application": {"Application %s is suspended", "应用 %s 已暂停"},
	"stop.queue":       {"Queue %s is paused", "队列 %s 已暂停"},
	"stop.queue.why": {
		"it was paused, most likely in asynqmon; its tasks wait", "有人暂停了它（多半在 asynqmon 中），其中的任务在等待",
	},
	"stop.noworker":          {"No worker is running", "没有 worker 在运行"},
	"stop.noworker.why":      {"queued rooms wait", "已提交的任务在等待"},
	"stop.noworker.fix":      {"start one with tiwsnap worker", "运行 tiwsnap worker 启动一个"},
	"stop.person":            {"stopped by %s", "由 %s 停止"},
	"stop.person.why":        {"stopped by %s: %s", "由 %s 停止：%s"},
	"stop.connection":        {"the endpoint of Tencent's API cannot be reached: %s", "无法连接腾讯云 API：%s"},
	"stop.storm":             {"Tencent's API returns only errors or does not answer: %s", "腾讯云 API 只返回错误或没有响应：%s"},
	"stop.waits.person":      {"tiwsnap start", "由人重新开始"},
	"stop.waits.request":     {"an accepted request", "一个被受理的请求"},
	"stop.waits.resumed":     {"accepted trial requests", "逐个试发的请求被受理"},
	"stop.waits.application": {"an accepted request for it", "该应用的一个请求被受理"},
	"stop.fix.person":        {"tiwsnap start, or the button below", "运行 tiwsnap start，或点下面的按钮"},

	"stop.waits.replicas": {"the replicas, which are checked every few seconds", "副本的确认，每隔几秒重试"},
	"stop.noreplica.why": {
		"the replicas of Redis do not confirm writes, which TIWSNAP_REDIS_DURABILITY=replicated requires",
		"Redis 副本没有确认待发送的请求（TIWSNAP_REDIS_DURABILITY=replicated）",
	},
	"stop.noreplica.fix": {
		"start the replicas of Redis, or check why they lag: INFO replication",
		"启动 Redis 副本，或用 INFO replication 查看其落后的原因",
	},

	"said.stopped": {"Sending is stopped.", "所有发送已停止。"},
	"said.started": {"Sending is started.", "已开始发送。"},

	"limit.slowed":     {"Slowed to %s requests a second", "已降速到每秒 %s 个请求"},
	"limit.differ":     {"Workers have different rate limits", "各 worker 的频率限制不同"},
	"limit.differ.why": {"%s to %s requests a second: %s holds", "每秒 %s 到 %s 个请求：按 %s 执行"},
	"limit.differ.fix": {
		"Give all workers the same TIWSNAP_RATE_LIMIT, or set the limit for all: tiwsnap limit N",
		"给所有 worker 相同的 TIWSNAP_RATE_LIMIT，或统一设置：tiwsnap limit N",
	},

	"redis.away.fix": {"start it, or check its log; workers resume by themselves", "启动 Redis 或查看其日志；worker 会自行恢复"},
	"redis.evicts":   {"%s deletes tasks when it is full", "%s 写满时会淘汰任务"},
	"redis.evicts.fix": {
		"set maxmemory-policy noeviction in redis.conf, or by CONFIG SET",
		"在 redis.conf 中或用 CONFIG SET 设置 maxmemory-policy noeviction",
	},
	"redis.aof":      {"%s cannot write its append-only file", "%s 无法写入 AOF 文件"},
	"redis.aof.why":  {"it refuses writes until it can", "在此之前拒绝写入"},
	"redis.aof.fix":  {"free space on its disk", "清理其磁盘空间"},
	"redis.emptied":  {"Redis has lost its data", "Redis 数据已丢失"},
	"redis.older":    {"Redis went back to an older state", "Redis 回到了较旧的状态"},
	"redis.lost.why": {"missing: %s (%s in all)", "缺少：%s（共 %s 个）"},
	"redis.lost.fix": {
		"enqueue what is missing again; check the append-only file and the replicas of Redis",
		"重新提交缺少的内容；确认 Redis 开启 AOF，且副本没有落后",
	},
	"copies.stuck":       {"No image can be copied", "无法复制图片"},
	"copies.stuck.waits": {"the image store; sending continues", "图片存储恢复；图片会等待，发送继续"},
	"copies.stuck.fix": {
		"make sure that the store exists, has space and is writable; tiwsnap doctor checks it",
		"确认图片存储可用、有空间且允许 tiwsnap 写入：tiwsnap doctor 会检查",
	},
	"redis.full":     {"%s is %s %% full", "%s 已用 %s %%"},
	"redis.full.why": {"beyond %s %% new work is refused; accepted work continues", "超过 %s %% 时拒绝新任务；已接收的继续"},
	"redis.full.fix": {"wait until records have expired, or raise maxmemory", "等待记录过期，或提高 maxmemory"},

	"find.none":     {"Nothing found.", "没有找到。"},
	"find.more":     {"There are more results. Enter a more exact value.", "结果不止这些，请使用更精确的内容。"},
	"find.none.yet": {"Nothing found so far.", "目前没有找到。"},
	"find.searched": {"%s of %s queued rooms are searched.", "批次中等待的房间已查找 %s / %s 个。"},
	"find.on":       {"Search on", "继续查找"},
	"find.short":    {"Enter what to find.", "要查找什么？"},

	"filter":          {"Filter", "筛选"},
	"filter.state":    {"State", "状态"},
	"filter.text":     {"Name or label", "名称或标签"},
	"filter.day":      {"Day", "日期"},
	"filter.apply":    {"Filter", "筛选"},
	"filter.clear":    {"Clear", "清除"},
	"filter.all":      {"all", "全部"},
	"filter.open":     {"open", "未结束"},
	"filter.running":  {"running", "进行中"},
	"filter.paused":   {"paused", "已暂停"},
	"filter.canceled": {"canceled", "已取消"},
	"filter.ended":    {"ended", "已结束"},
	"filter.failed":   {"with failures", "有失败"},

	"batches.none":    {"There is no batch yet.", "还没有批次。"},
	"batches.nomatch": {"No batch matches.", "没有匹配的批次。"},
	"batches.further": {"None of the searched batches match. There are older ones.", "已查看的批次中没有匹配。还有更早的批次。"},
	"share":           {"Share a link", "分享链接"},
	"share.says": {
		"Anyone with the link sees the images of this batch and their labels, without a login, and nothing else.",
		"持有链接者无需登录即可查看本批次的图片和标签，看不到其他内容。",
	},
	"share.link":      {"Link, valid until", "链接有效期至"},
	"share.days":      {"Valid for", "有效期"},
	"share.n":         {"%s day|%s days", "%s 天"},
	"share.make":      {"Create a link", "生成链接"},
	"share.until":     {"This link is valid until", "此链接有效期至"},
	"pictures.none":   {"No room has an image.", "没有图片。"},
	"pictures.notyet": {"No room has an image yet.", "还没有图片。"},
	"pictures.close":  {"Close", "关闭"},
	"page.older":      {"Older", "更早"},
	"page.next":       {"Next", "下一页"},
	"page.first":      {"First page", "第一页"},

	"batch.created": {"created", "创建于"},
	"batch.took":    {"took %s", "用时 %s"},
	"batch.by":      {"by", "提交者"},
	"batch.webhook": {"webhook", "通知"},
	"batch.done":    {"%s of %s done", "完成 %s / %s"},
	"batch.left":    {"%s left", "剩余 %s"},
	"batch.partial": {"counted among the newest 2,000", "仅统计最近 2,000 条"},
	"download":      {"Download", "下载"},
	"download.csv":  {"CSV for Excel", "供 Excel 使用的 CSV"},
	"download.zip":  {"All images (ZIP)", "全部图片（ZIP）"},
	"download.json": {"Counts as JSON", "统计（JSON）"},
	"rooms.all":     {"show all", "显示全部"},
	"rooms.none":    {"No room here.", "没有房间。"},

	"pause":        {"Pause", "暂停"},
	"resume":       {"Resume", "继续"},
	"retry":        {"Retry", "重试"},
	"cancel":       {"Cancel", "取消"},
	"retry.failed": {"Retry %s failed", "重试 %s 个失败"},
	"cancel.says": {
		"This cannot be undone. Tasks that Tencent has accepted continue.",
		"此操作不可撤销。腾讯云已受理的任务无法收回，会继续执行。",
	},
	"cancel.one.says": {
		"The snapshot is canceled, unless Tencent accepts the request in flight.", "不再生成快照，除非在途的请求已被腾讯云受理。",
	},
	"cancel.button": {"Cancel %s room|Cancel %s rooms", "取消 %s 个房间"},
	"again.title":   {"Again: a new batch of the same rooms …", "再来一次：用相同房间新建批次……"},
	"again.says":    {"Every room is snapshotted once more. This batch stays as it is.", "对每个房间再次快照。本批次保持不变。"},
	"again.name":    {"Name of the new batch", "新批次名称"},
	"again.default": {"this name and the time", "本名称加时间"},
	"again.button":  {"Enqueue %s room again|Enqueue %s rooms again", "再次提交 %s 个房间"},
	"held.says": {
		"It is unknown whether the last request created a task. A retry may create a second one.",
		"无法确定最后一次请求是否已创建任务。重试可能会创建第二个任务。",
	},
	"held.some": {"%s snapshot is held for review|%s snapshots are held for review", "%s 个快照待人工确认"},
	"held.some.why": {
		"It is unknown whether the last request created a task, and no callback has come",
		"无法确定最后一次请求是否已创建任务，也没有收到回调",
	},
	"held.some.fix":   {"look at each, and retry or cancel it", "请逐个查看，并重试或取消"},
	"held.retry.says": {"This may create a second, billed task.", "可能会创建第二个任务并产生费用。"},
	"held.retry":      {"Retry those held", "重试待确认的快照"},

	"said.canceled": {"Canceled: %s room at once. Others that were fed follow, unless Tencent accepts them now.|" +
		"Canceled: %s rooms at once. Others that were fed follow, unless Tencent accepts them now.",
		"已立即取消 %s 个房间。其余已出队的随后取消，除非腾讯云此刻受理。"},
	"said.paused":  {"Paused. A few seconds of work that are on the queue are still sent.", "已暂停。已出队的几秒钟任务会继续。"},
	"said.resumed": {"Resumed.", "已继续。"},
	"said.retried": {"%s snapshot is queued again.|%s snapshots are queued again.", "%s 个快照已重新排队。"},
	"said.retried.some": {"%s snapshot is queued again, and there are more: retry once more for the rest.|" +
		"%s snapshots are queued again, and there are more: retry once more for the rest.", "%s 个快照已重新排队，还有更多：请再次重试。"},
	"said.again": {
		"%s room of %s is enqueued again.|%s rooms of %s are enqueued again.",
		"已再次提交 %s 个房间（来自 %s）。",
	},
	"said.snapshot.canceled": {"Canceled.", "已取消。"},
	"said.snapshot.canceling": {
		"A request is in flight. The snapshot is canceled unless Tencent accepts it.", "请求已在途中。除非腾讯云受理，否则会取消。",
	},
	"said.snapshot.retried": {"Queued again.", "已重新排队。"},

	"snapshot.next":       {"What happens next:", "接下来："},
	"snapshot.timeline":   {"Timeline", "经过"},
	"snapshot.nothing":    {"Nothing has happened yet.", "尚未开始。"},
	"snapshot.facts":      {"Details", "详情"},
	"snapshot.json":       {"JSON", "JSON"},
	"snapshot.attempts":   {"Requests sent", "已发请求数"},
	"snapshot.callbacks":  {"Callbacks", "回调次数"},
	"snapshot.callback":   {"Callback body", "回调内容"},
	"snapshot.duplicates": {"Possible duplicates", "可能重复"},
	"snapshot.extra":      {"Another task of it", "另一个任务"},
	"image.n":             {"Image %s", "图片 %s"},
	"image.vanished":      {"gone: Tencent has deleted it, and there is no copy", "已不存在：腾讯云已删除，且没有副本"},
	"copies.some":         {"%s of %s images copied", "已复制 %s / %s 张图片"},
	"copies.until":        {"Tencent keeps images until", "腾讯云保留图片至"},

	"moment.enqueued":  {"Enqueued", "已提交"},
	"moment.sent":      {"Request %s sent", "第 %s 次发送请求"},
	"moment.permit":    {"after %s ms of waiting for a permit", "等待频率许可 %s 毫秒"},
	"moment.unknown":   {"outcome unknown: a task may have been created", "结果未知：可能已创建任务"},
	"moment.queued":    {"no task was created, it is retried", "没有创建任务，会再次发送"},
	"moment.accepted":  {"Accepted by Tencent", "腾讯云已受理"},
	"moment.succeeded": {"Succeeded", "成功"},
	"moment.failed":    {"Failed", "失败"},
	"moment.canceled":  {"Canceled", "已取消"},
	"moment.request":   {"RequestId %s", "RequestId %s"},
	"moment.task":      {"TaskID %s", "TaskID %s"},
	"moment.images":    {"%s image|%s images", "%s 张图片"},

	"next.held":    {"A person decides: retry or cancel.", "由人决定：重试或取消。"},
	"next.paused":  {"Its batch is paused. It continues when the batch is resumed.", "所属批次已暂停，恢复后继续。"},
	"next.stopped": {"Sending is stopped. The room is sent when sending resumes.", "所有发送已停止，恢复后发送。"},
	"next.queued":  {"It waits for its turn at the rate limit.", "按频率限制排队等待发送。"},
	"next.sending": {"A request is in flight.", "请求正在发往腾讯云。"},
	"next.unknown": {
		"The outcome of the request is unknown. It waits for the callback and is then retried.", "请求结果未知。先等待回调，然后再次发送。",
	},
	"next.accepted": {"Tencent creates the images. tiwsnap polls for the result.", "腾讯云正在生成图片，会轮询结果。"},

	"new.link": {"Start a batch", "新建批次"},
	"new.says": {
		"Upload a class list or paste rooms. You see what is wrong before anything is enqueued.",
		"上传班级名单或粘贴房间。提交之前会先显示有问题的行。",
	},
	"new.app":   {"SdkAppId for rows without one", "未填 SdkAppId 的行使用"},
	"new.file":  {"Class list: CSV, Excel (.xlsx), JSON lines or JSON", "班级名单：CSV、Excel（.xlsx）、JSON lines 或 JSON"},
	"new.drop":  {"or drop the file here; up to 16 MB", "或将文件拖到这里；最大 16 MB"},
	"new.paste": {"Or paste rows", "或粘贴行"},
	"new.paste.says": {
		"A header with RoomId comes first. From Excel, copy the cells.", "第一行为表头，须有 RoomId。可直接从 Excel 复制单元格。",
	},
	"new.check":        {"Check the list", "检查名单"},
	"new.kept":         {"Nothing is enqueued yet. The list is kept for an hour.", "尚未提交。名单保留一小时。"},
	"new.other":        {"Another list", "换一个名单"},
	"new.nothing":      {"Nothing can be enqueued", "没有可提交的行"},
	"new.good":         {"%s room is in order|%s rooms are in order", "%s 个房间没有问题"},
	"new.bad":          {"%s row is wrong|%s rows are wrong", "%s 行有问题"},
	"new.asrows":       {"as the rows say", "按行中所写"},
	"new.name":         {"Name of the batch", "批次名称"},
	"new.name.default": {"of the file", "取自文件名"},
	"new.apply":        {"Apply", "应用"},
	"new.enqueue":      {"Enqueue %s room|Enqueue %s rooms", "提交 %s 个房间"},
	"new.without":      {"without the rows that are wrong", "不含有问题的行"},
	"new.faults":       {"Rows that are wrong", "有问题的行"},
	"new.faults.first": {"Only the first 100 are shown.", "仅显示前 100 个。"},
	"new.line":         {"Line", "行号"},
	"new.field":        {"Field", "字段"},
	"new.reason":       {"What is wrong", "问题"},
	"new.notes":        {"Detected", "识别结果"},
	"new.first":        {"The first rooms", "前几个房间"},
	"said.ran":         {"%s room is enqueued.|%s rooms are enqueued.", "已提交 %s 个房间。"},
	"said.ran.bad": {
		"%s room is enqueued. Left out as wrong: %s.|%s rooms are enqueued. Left out as wrong: %s.",
		"已提交 %s 个房间，%s 行因有问题被忽略。",
	},
	"said.there": {
		"The same %s rooms were enqueued before. Nothing was added; to snapshot them once more use Again.",
		"相同的 %s 个房间此前已提交，没有新增。如需再次快照，请用“再来一次”。",
	},
	"said.chosen": {"Done for %s snapshot.|Done for %s snapshots.", "已处理 %s 个快照。"},

	"failures.codes":      {"By code", "按错误码"},
	"failures.newest":     {"newest", "最近一个"},
	"failures.newest.all": {"The newest", "最近的"},
	"failures.all":        {"Retry all", "全部重试"},
	"failures.retry":      {"Retry those chosen", "重试所选"},
	"failures.cancel":     {"Cancel those chosen", "取消所选"},
	"failures.choose":     {"Choose", "选择"},
	"failures.cut":        {"Only the newest 100 are shown.", "仅显示最近 100 条。"},
	"held.none":           {"Nothing is held for review.", "没有需要人工确认的。"},
	"col.label":           {"Label", "标签"},
	"col.when":            {"When", "时间"},

	"schedule.run": {"Run now", "立即运行"},
	"schedule.run.says": {
		"The rooms of the schedule are enqueued now, as a batch of its own.", "立即将该定时任务的房间提交为一个单独的批次。",
	},
	"schedule.next":     {"Next ticks", "接下来的运行时间"},
	"schedule.last":     {"Last tick", "上次运行"},
	"schedule.never":    {"It never ticks.", "永不运行。"},
	"schedule.none":     {"The configuration has no schedules.", "配置中没有定时任务。"},
	"schedule.none.yet": {"None yet.", "尚未运行。"},
	"schedule.missed":   {"%s tick was never made|%s ticks were never made", "有 %s 次没有运行"},
	"schedule.overdue": {
		"No worker has run the due tick. Is a worker with this configuration running?",
		"到期的任务没有 worker 执行。是否有使用此配置的 worker 在运行？",
	},
	"schedule.trying":       {"The tick that is due has failed %s times:", "本次运行已失败 %s 次："},
	"tick.enqueued":         {"enqueued", "已提交"},
	"tick.skipped":          {"skipped", "已跳过"},
	"tick.missed":           {"missed", "已错过"},
	"tick.failed":           {"failed", "失败"},
	"said.schedule.paused":  {"The schedule is paused.", "定时任务已暂停。"},
	"said.schedule.resumed": {"The schedule is resumed. Ticks missed during the pause are not made up.", "定时任务已继续。暂停期间错过的不再补做。"},

	"webhooks.dead":        {"Undelivered", "投递失败"},
	"webhooks.waiting":     {"Waiting", "等待重试"},
	"webhooks.event":       {"Event", "事件"},
	"webhooks.receiver":    {"Receiver", "接收方"},
	"webhooks.tries":       {"Tries", "次数"},
	"webhooks.error":       {"Last error", "最近的错误"},
	"webhooks.last":        {"Last try", "最近一次"},
	"webhooks.next":        {"Next try", "下一次"},
	"webhooks.resend":      {"Resend", "重发"},
	"webhooks.all":         {"Resend all", "全部重发"},
	"webhooks.none":        {"Every webhook was delivered or will be retried.", "所有通知均已送达或仍在重试。"},
	"webhooks.gone":        {"%s answered 410 Gone and is sent no more until a resend.", "%s 返回 410 Gone，重发之前不再通知。"},
	"webhooks.settings":    {"receiver of the settings", "配置中的接收方"},
	"webhooks.nonewaiting": {"No webhook waits for a retry.", "没有等待重试的通知。"},
	"said.resent":          {"%s webhook is queued again.|%s webhooks are queued again.", "%s 个通知已重新排队。"},

	"limit.set": {"Set the limit", "设置限制"},
	"limit.set.says": {
		"For all workers, at once, until it is reset to the configured limit.", "立即对所有 worker 生效，直到恢复为配置值。",
	},
	"limit.number":       {"Requests a second", "每秒请求数"},
	"limit.default":      {"as configured", "按配置"},
	"limit.reset":        {"Set as configured", "恢复为配置值"},
	"limit.inforce":      {"In force", "当前限制"},
	"limit.asecond":      {"a second", "次/秒"},
	"limit.available":    {"Available", "可用"},
	"limit.peak":         {"Peak second", "最高一秒"},
	"limit.peak.of":      {"in the last 2 min", "最近 2 分钟"},
	"limit.margin":       {"Safety margin", "安全余量"},
	"limit.actions":      {"By action", "按接口"},
	"limit.action":       {"Action", "接口"},
	"limit.unknown":      {"This process has no rate limit.", "本进程不知道频率限制。"},
	"limit.changes":      {"History", "修改记录"},
	"limit.nochanges":    {"Nobody has changed it.", "没有人修改过。"},
	"limit.to":           {"Limit", "限制"},
	"said.limit":         {"The limit of all workers is %s a second.", "所有 worker 的限制已设为每秒 %s 次。"},
	"said.limit.default": {"The limit is as configured.", "限制已恢复为配置值。"},

	"workers.differ":   {"Workers differ in their settings", "各 worker 的设置不同"},
	"workers.since":    {"since", "启动于"},
	"workers.busy":     {"%s request in flight|%s requests in flight", "%s 个请求在途"},
	"workers.sent":     {"%s sent since it has started", "启动以来已发送 %s 个"},
	"workers.settings": {"Settings", "设置"},

	"redis.used":      {"%s of %s used", "已用 %s / %s"},
	"redis.unlimited": {"%s used, no limit is set", "已用 %s，未设置上限"},
	"redis.noaof":     {"nothing survives a restart of Redis", "Redis 重启后数据全部丢失"},
	"redis.silent":    {"The state of Redis is unknown: INFO is not permitted.", "Redis 未提供状态：不允许 INFO。"},
	"redis.batches":   {"Batches kept", "保留的批次"},
	"redis.record":    {"Size of a record", "每条记录大小"},
	"redis.bytes":     {"bytes", "字节"},
	"redis.untold":    {"unknown", "未知"},
	"redis.clock":     {"Clock ahead of this machine", "时钟比本机快"},
	"redis.totals":    {"Totals", "累计"},

	"audit.says": {
		"Who changed what, on the pages, through the API and on the command line. Kept for 90 days.", "谁在何时做了什么：页面、API 和命令行。保留 90 天。",
	},
	"audit.by":     {"Who", "操作人"},
	"audit.via":    {"By", "途径"},
	"audit.action": {"Action", "操作"},
	"audit.object": {"What", "对象"},
	"audit.detail": {"Detail", "详情"},
	"audit.none":   {"Nobody has changed anything.", "没有操作记录。"},

	"chart.title": {"Requests a second", "每秒请求数"},
	"batch.chart": {"Requests and results", "请求与结果"},
	"batch.chart.says": {
		"area: requests, peak %s a second over %s; dashes: results", "面积：请求，峰值每秒 %s（%s 平均）；虚线：结果",
	},
	"chart.span": {"Time", "时间范围"},
	"chart.says": {
		"peak %s of %s a second over %s, %s sent, %s refused", "峰值每秒 %s / %s（%s 平均），已发送 %s，被限流 %s",
	},
	"span.15m": {"15 min", "15 分钟"},
	"span.24h": {"24 h", "24 小时"},
	"span.7d":  {"7 days", "7 天"},
}
