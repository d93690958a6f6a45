package pages

import (
	"fmt"
	"regexp"
	"sync"
)

// translate returns an English text of another package in the language: the reasons of faulty rows, and problems. An
// unknown text stays as it is. The parts of a text are translated, too.
func (l lang) translate(s string) string {
	if l == english {
		return s
	}
	for _, r := range translations() {
		if found := r.english.FindStringSubmatch(s); found != nil {
			var parts []any
			for _, part := range found[1:] {
				parts = append(parts, l.translate(part))
			}
			return fmt.Sprintf(r.chinese, parts...)
		}
	}
	return s
}

type translation struct {
	english *regexp.Regexp
	chinese string // with a %s for each part in its order, or %[N]s
}

var translations = sync.OnceValue(func() (all []translation) {
	verb := regexp.MustCompile(`%[0-9.]*[a-z]`)
	for _, pair := range foreign {
		// A quoted value may contain anything.
		pattern := verb.ReplaceAllStringFunc(regexp.QuoteMeta(pair[0]), func(v string) string {
			switch v[len(v)-1] {
			case 'd':
				return `(\d+)`
			case 'q':
				return `("(?:[^"\\]|\\.)*"|'.{1,4}')`
			}
			return `(.+?)`
		})
		all = append(all, translation{regexp.MustCompile(`(?s)^` + pattern + `$`), pair[1]})
	}
	return all
})

// foreign are formats of texts of other packages, in English and Chinese. The first match is used.
var foreign = [][2]string{
	// tasks.Room
	{"is missing", "缺失"},
	{"is missing (a COS block needs Uin, Region and Bucket)", "缺失（COS 需要 Uin、Region 和 Bucket）"},
	{"is %d, it must be from 0 to %d", "为 %s，必须在 0 到 %s 之间"},
	{"is not a JSON document", "不是 JSON 文档"},
	{"must be a URL that begins with https:// or http://", "必须是以 https:// 或 http:// 开头的 URL"},
	{"has %d names, at most %d are allowed", "有 %s 个名称，最多允许 %s 个"},
	{"has an empty name", "有一个空名称"},
	{"has a name that %s: %q", "有一个名称%s：%s"},
	{"is %d bytes long, at most %d are allowed", "长 %s 字节，最多允许 %s 字节"},
	{"contains a NUL byte", "含有 NUL 字节"},
	{"is not valid UTF-8", "不是有效的 UTF-8"},

	// rooms: fields
	{"is %q, it must be %s or %s", "为 %s，必须是 %s 或 %s"},
	{"is %q, of which spreadsheets keep %d digits: format the column as text", "为 %s，电子表格只保留 %s 位数字：请将该列设为文本格式"},
	{"is %q, %s", "为 %s，%s"},
	{"that is too large", "数值过大"},
	{"it must not be negative", "不能为负数"},
	{"spreadsheets shorten long numbers: format the column as text and save again",
		"电子表格会这样缩写长数字：请将该列设为文本格式后重新保存"},
	{"it must be a whole number", "必须是整数"},
	{"it must have no thousands separators", "不能有千位分隔符"},
	{"is %d, it must be %d or more", "为 %s，必须大于或等于 %s"},
	{"is shown as %q: format the column as a number or as text", "显示为 %s：请将该列设为数字或文本格式"},
	{"%d of SdkAppId %d is already on line %d", "%s（SdkAppId %s）已在第 %s 行出现"},
	{"%d of SdkAppId %d is already %s", "%s（SdkAppId %s）已在前面出现"},
	{"is the text %s, it must be a number without quotes", "为文本 %s，必须是不带引号的数字"},
	{"is %s, it must be an object", "为 %s，必须是对象"},
	{"is %s, it must be a text in quotes", "为 %s，必须是带引号的文本"},
	{"is %s, it must be a number", "为 %s，必须是数字"},
	{"appears twice", "出现了两次"},

	// rooms: rows
	{"the row has %s, the header has %d (a field that contains %s must be in quotes)",
		"该行有 %s，表头有 %s 个（含有 %s 的字段必须加引号）"},
	{"the row has %s, the header has %d", "该行有 %s，表头有 %s 个"},
	{"the row has %s, the header has %d%s", "该行有 %s，表头有 %s 个%s"},
	{"%d fields", "%s 个字段"},
	{"%d field", "%s 个字段"},
	{"%q is in a column without a name: name it in the header, or delete it", "%s 所在的列没有名称：请在表头中命名，或删除该列"},
	{"the line is longer than %d KiB", "该行超过 %s KiB"},
	{"the row is longer than %d KiB", "该行超过 %s KiB"},
	{"the object is longer than %d KiB", "该对象超过 %s KiB"},
	{"the line is not one whole JSON object: %s", "该行不是一个完整的 JSON 对象：%s"},
	{"the line is %s, it must be a JSON object", "该行是 %s，必须是 JSON 对象"},
	{"the field %s", "该字段%s"},
	{"makes the row longer than %d KiB", "使该行超过 %s KiB"},
	{"has a quote that is never closed, so the rest of the file cannot be read", "有未闭合的引号，文件其余部分无法读取"},
	{"has a quote in the middle: put the whole field in quotes and double those inside", "中间有引号：请给整个字段加引号，其中的引号写两个"},
	{"goes on after its closing quote: double the quotes inside a quoted field", "在结束引号之后还有内容：字段内的引号请写两个"},

	// rooms: headers
	{"is column %d already", "已是第 %s 列"},
	{"the header has no column RoomId", "表头没有 RoomId 列"},
	{"the header has no column SdkAppId: add one, or set it for all rows (--app)",
		"表头没有 SdkAppId 列：请添加该列，或为所有行统一设置（--app）"},
	{"the first line must be a header like SdkAppId,RoomId", "第一行必须是表头，例如 SdkAppId,RoomId"},
	{"%q is no column, name it or delete it", "%s 不是列名，请命名或删除"},
	{"%q is no name, name it or delete it", "%s 不是名称，请命名或删除"},
	{"%q is not a known %s, labels are called %s", "%s 不是已知的%s，标签的名称是 %s"},
	{"%q is not a known %s, did you mean %s", "%s 不是已知的%s，是否想写 %s"},
	{"%q is not a known %s, a label has a name like %s", "%s 不是已知的%s，自定义内容请命名为 %s 这样的名称"},
	{"column", "列名"},
	{"name", "名称"},

	// rooms: files
	{"the file is empty", "文件是空的"},
	{"the file has a header and no rows", "文件只有表头，没有数据行"},
	{"the file has more than %d rows", "文件超过 %s 行"},
	{"the file has more than %d different SdkAppIds, perhaps the columns SdkAppId and RoomId are swapped",
		"文件中有超过 %s 个不同的 SdkAppId，SdkAppId 和 RoomId 两列可能写反了"},
	{`the file is not text, save it as .xlsx or as "CSV UTF-8"`, "文件不是文本，请另存为 .xlsx 或“CSV UTF-8”"},
	{`the file is an XML document, save it as .xlsx or as "CSV UTF-8"`, "文件是 XML 文档，请另存为 .xlsx 或“CSV UTF-8”"},
	{"the file is an HTML page: download the list itself, " +
		`or open the page in a spreadsheet and save it as .xlsx or as "CSV UTF-8"`,
		"文件是 HTML 网页：请下载名单本身，或用电子表格打开后另存为 .xlsx 或“CSV UTF-8”"},
	{`the file is an object with "rooms", as POST /v1/batches takes it: send it there, ` +
		`or give the array of its rooms alone, as jq .rooms prints it, and what else it has as flags`,
		"文件是带有 rooms 的对象（POST /v1/batches 的格式）：请发送到该接口，或只提供其中的 rooms 数组"},
	{"an old workbook (.xls) or one with a password: save it as .xlsx, without a password",
		"旧版工作簿（.xls）或带密码的工作簿：请另存为不带密码的 .xlsx"},
	{"a damaged .xlsx or an empty zip archive", "损坏的 .xlsx 或空的 zip 压缩包"},
	{"compressed with gzip: unpack it first", "gzip 压缩文件：请先解压"},
	{"a PDF document: export the list as .xlsx or CSV", "PDF 文档：请将名单导出为 .xlsx 或 CSV"},
	{`an RTF document: save the list as .xlsx or as "CSV UTF-8"`, "RTF 文档：请另存为 .xlsx 或“CSV UTF-8”"},
	{`UTF-32 text: save it as "CSV UTF-8"`, "UTF-32 文本：请另存为“CSV UTF-8”"},
	{"the file is a damaged .xlsx or zip archive: %s", "文件是损坏的 .xlsx 或 zip 压缩包：%s"},
	{`the file is %s: save the list as .xlsx or as "CSV UTF-8"`, "文件是 %s：请另存为 .xlsx 或“CSV UTF-8”"},
	{"the file is %s", "文件是%s"},
	{"the text is not %s as a whole: %s", "文本并非全部是 %s 编码：%s"},
	{`the text is not UTF-8: name it (--encoding, or encoding= in a URL), or save the file as "CSV UTF-8"`,
		"文本不是 UTF-8，请另存为“CSV UTF-8”"},
	{"the text is not UTF-8, and its encoding is not clear: %s", "文本不是 UTF-8，编码无法确定：请另存为“CSV UTF-8”"},
	{"name it (--encoding, or encoding= in a URL)", "请指定编码（--encoding，或 URL 中的 encoding=）"},
	{"the JSON array is never closed: the file is cut off", "JSON 数组未闭合：文件不完整"},
	{"the JSON value is never closed: the file is cut off", "JSON 值未闭合：文件不完整"},
	{"there is more behind the end of the JSON array", "JSON 数组结束之后还有内容"},
	{"the workbook cannot be read: %s", "无法读取工作簿：%s"},
	{`the workbook is larger than %d MB: save the sheet as "CSV UTF-8"`, "工作簿超过 %s MB：请另存为“CSV UTF-8”"},
	{"the workbook is too large when it is unpacked (%d MB, and %d MB besides its sheets, are allowed): " +
		`save the sheet as "CSV UTF-8"`, "工作簿解压后过大（最多 %s MB，工作表之外最多 %s MB）：请另存为“CSV UTF-8”"},
	{`the workbook has more than %d different texts: save the sheet as "CSV UTF-8"`,
		"工作簿有超过 %s 个不同的文本：请另存为“CSV UTF-8”"},
	{"the workbook is damaged: %s", "工作簿已损坏：%s"},
	{"the sheet %q cannot be read: %s", "无法读取工作表 %s：%s"},
	{"the sheet cannot be read on: %s", "无法继续读取工作表：%s"},
	{"the row cannot be read: %s", "无法读取该行：%s"},
	{"the workbook has no sheet %q; it has: %s", "工作簿没有工作表 %s，只有：%s"},
	{"the workbook has no sheet that can be seen", "工作簿没有可见的工作表"},

	// rooms: notes
	{"the text is read as %s, as its byte order mark says, not as %s", "按字节顺序标记以 %s 读取文本，而不是 %s"},
	{"the text is read as %s, as its byte order mark says", "按字节顺序标记以 %s 读取文本"},
	{"the text is read as %s, as its bytes suggest; if that is wrong, %s", "根据内容判断，以 %s 读取文本；如有误，%s"},
	{"the text is read as %s, as its bytes suggest; if labels look wrong, %s", "根据内容判断，以 %s 读取文本；如标签显示有误，%s"},
	{`the file is a result list: only "room" is read; %s`, "文件是结果列表：只读取 room；%s"},
	{"a CallbackURL must be given again", "CallbackURL 需要重新填写"},
	{"the file is a result list: its rooms and labels are read, and not %s; %s", "文件是结果列表：读取其中的房间和标签，忽略 %s；%s"},
	{"the encoding that was named is not used: the file is a workbook, which has its own", "未使用指定的编码：工作簿有自己的编码"},
	{"the first of %s with a RoomId above %d, which other whiteboard APIs do not take",
		"从此行起共有 %s的 RoomId 大于 %s，其他互动白板接口不接受这样的 RoomId"},
	{"%d rooms", "%s 个房间"},
	{"%d room", "%s 个房间"},
	{"skipped, as it stands before the header: %s", "已跳过，位于表头之前：%s"},
	{"the header again, skipped", "重复的表头，已跳过"},
	{"a second header; its columns are those of the rows below", "第二个表头，用于其后的行"},
	{"of the %d sheets of the workbook the first is read, %s; others need --sheet, or sheet= in a URL: %s",
		"工作簿有 %s 个工作表，只读取第一个：%s（全部：%[3]s）"},

	// Problems: lists and forms
	{"the list cannot be read; nothing was enqueued", "无法读取名单，没有提交任何房间"},
	{"the list is larger than %d MB: send it by POST /v1/batches or tiwsnap enqueue batch",
		"名单超过 %s MB：请用 POST /v1/batches 或 tiwsnap enqueue batch 提交"},
	{"the body is larger than %d bytes", "内容超过 %s 字节"},
	{"the form cannot be read: %s", "无法读取表单：%s"},
	{"the login form cannot be read", "无法读取登录表单"},
	{"the query of the URL cannot be read: %s", "无法解析网址中的查询参数：%s"},
	{"is empty: choose a file or paste rows", "是空的：请选择文件或粘贴行"},
	{"is not an upload: %s", "不是上传的表单：%s"},
	{"is not known", "不是已知的值"},
	{"is not one that an earlier page returned", "不是前一页返回的值"},
	{"must be a date such as 2026-11-28", "必须是日期，例如 2026-11-28"},
	{"must be a number", "必须是数字"},
	{"must be a time zone such as Asia/Shanghai", "必须是时区，例如 Asia/Shanghai"},
	{"must be a whole number from 1 to %s", "必须是 1 到 %s 的整数"},
	{"must be 1 to 64 of a-z, 0-9 and -, and not begin with -", "必须是 1 到 64 个 a-z、0-9 或 - 字符，且不以 - 开头"},
	{"must be 1 to %d days", "必须是 1 到 %s 天"},
	{"must be AllMarks or LatestMarksOnly", "必须是 AllMarks 或 LatestMarksOnly"},
	{"the room breaks the rules of Tencent's API", "房间不符合腾讯云 API 的要求"},

	// Problems: what may be done
	{"this needs the role %s, which %s lacks", "此操作需要角色 %s，而 %s 没有"},
	{"%s may cancel only its own batches and rooms", "%s 只能取消自己提交的批次和房间"},
	{"nothing is left to cancel: %d accepted, %d succeeded, %d failed, %d canceled",
		"没有可取消的：已受理 %s，成功 %s，失败 %s，已取消 %s"},
	{"nothing is left to feed: the batch is %s", "没有可提交的房间：批次%s"},
	{"nothing to retry: no snapshot that %s has the code %s; they have %s",
		"没有可重试的：%s的快照中没有错误码 %s，只有 %s"},
	{"nothing to retry: no snapshot %s", "没有可重试的：没有%s的快照"},
	{"it has %s already", "该快照已%s"},
	{"it is %s: only failed, canceled and held snapshots can be retried",
		"该快照%s：只有失败、已取消和待人工确认的快照可以重试"},
	{"Tencent has accepted it: a task cannot be canceled", "腾讯云已受理，任务无法取消"},
	{"it is being delivered, or was delivered", "正在投递或已送达"},
	{"queued", "排队中"}, {"sending", "发送中"}, {"unknown", "结果未知"}, {"accepted", "已受理"}, {"succeeded", "成功"},
	{"failed", "失败"}, {"canceled", "已取消"}, {"ended", "已结束"}, {"paused", "已暂停"}, {"running", "进行中"},
	{"is held for review", "待人工确认"},

	// Problems: what is not there
	{"there is nothing with that id; ended batches and snapshots are kept for a while only",
		"没有此 ID 的内容；已结束的批次和快照只保留一段时间"},
	{"there is nothing under this path", "此路径下没有内容"},
	{"only %s is allowed here", "此处只允许 %s"},
	{"no webhook has that id; delivered ones are not kept", "没有此 ID 的通知；已送达的不保留"},
	{"the configuration has no schedule %q", "配置中没有定时任务 %s"},
	{"this process has no rate limit", "本进程没有频率限制"},
	{"the snapshot has no image of that number", "该快照没有此编号的图片"},
	{"there is no such image", "没有此图片"},
	{"the image is gone", "图片已不存在"},
	{"the copy cannot be read: %s", "无法读取副本：%s"},
	{"this link is invalid or has expired: ask for a new one", "此链接无效或已过期，请索取新的链接"},
	{"this list has expired: upload it again", "此名单已过期，请重新上传"},

	// Problems: the client
	{"more than %s requests a second", "每秒请求超过 %s 个"},
	{"too many attempts: try again in %s", "尝试次数过多，请在 %s 后重试"},
	{"too many %s already: at most %d, and %d of one token or user", "%s过多：最多 %s 个，每个令牌或用户最多 %s 个"},
	{"lists are being uploaded", "正在上传的名单"},
	{"lists are being downloaded", "正在下载的名单"},
	{"lists for Excel are being made", "正在生成的 Excel 列表"},
	{"streams are open", "打开的实时更新"},
	{"images are being read", "正在读取的图片"},
	{"log in, or send a bearer token", "请登录，或发送 bearer 令牌"},
	{"the credentials are wrong or have expired", "凭据有误或已过期"},
	{"a page of another site made this request", "此请求来自其他网站的页面"},
	{"Host header not in http.hosts (TIWSNAP_HTTP_HOSTS): add the name there",
		"Host 请求头不在 http.hosts（TIWSNAP_HTTP_HOSTS）中：请在其中添加此名称"},

	// Problems: the server
	{"internal error; see the log of the server", "程序内部错误，详见服务器日志"},
	{"unexpected error from Redis; try again", "Redis 返回意外错误，请重试"},
	{"no room for a temporary file here: %s", "没有临时文件空间：%s"},
	{"the client has canceled the request", "请求已被客户端取消"},
	{"accepted, but not every replica of Redis has confirmed it; repeat the request with its Idempotency-Key",
		"已接收，但 Redis 副本尚未全部确认；请用相同的 Idempotency-Key 重复请求"},
	{"%s; try again later", "%s；请稍后重试"},
	{"%s; if this host is yours, list it in TIWSNAP_IMAGES_PRIVATE",
		"%s；如果这是自己的主机，请将其加入 TIWSNAP_IMAGES_PRIVATE"},
	{"retry when records have expired, or raise maxmemory", "请在记录过期后重试，或提高 maxmemory"},
	{"Redis is full: %s used and %s reserved for records of queued rooms, of %s; new work is accepted up to %s %%; %s",
		"Redis 已满：已用 %s，为排队房间的记录预留 %s，上限 %s；使用率不超过 %s %% 时才接收新任务；%s"},
	{"Redis is full; %s", "Redis 已满；%s"},
	{"the batch has more than %d different label names", "批次中有超过 %s 个不同的标签名"},

	// Problems: nothing was enqueued
	{"nothing was enqueued: no row is valid; wrong rows: %d", "没有提交任何房间：没有正确的行，%s 行有问题"},
	{"nothing was enqueued: the upload broke off: %s", "没有提交任何房间：上传中断：%s"},
	{"nothing was enqueued: the upload stalled for too long", "没有提交任何房间：上传停顿过久"},
	{"nothing was enqueued: %s; give this one another name", "没有提交任何房间：%s；请换一个名称"},
	{"nothing was enqueued: %s; it ran in this second, try again", "没有提交任何房间：%s；这一秒内刚运行过，请重试"},
	{"nothing was enqueued: %s", "没有提交任何房间：%s"},
	{"batch %s exists already with other rooms (%d of them)", "批次 %s 已存在，且房间不同（%s 个）"},
	{"rooms of %s: %s", "房间名单 %s：%s"},

	// Errors of the network, which pages quote
	{"%s is not called for a while, its circuit breaker is open: %s", "%s 反复失败，暂停调用（熔断）：%s"},
	{"dial tcp %s: connect: connection refused", "无法连接 %s：连接被拒绝"},
	{"%s: dial tcp %s: connect: connection refused", "%s：无法连接 %s：连接被拒绝"},

	// Who enqueued a batch, and details of the audit log
	{"command %s", "命令行 %s"},
	{"user %s", "用户 %s"},
	{"token %s", "令牌 %s"},
	{"schedule %s", "定时任务 %s"},
	{"%s: %d rooms", "%s：%s 个房间"}, {"%s: %d room", "%s：%s 个房间"},
	{"%d images", "%s 张图片"}, {"%d image", "%s 张图片"},
	{"it was stopped by a person", "此前由人停止"},
	{"it was stopped because Tencent refused the account", "此前因腾讯云拒绝该账号而停止"},
	{"it was stopped because the endpoint was unreachable", "此前因无法连接腾讯云 API 而停止"},
	{"it was stopped because Tencent's API returned only errors", "此前因腾讯云 API 只返回错误而停止"},
}
