package tiw

import "strings"

// Chinese returns the meaning and the fix of an error code in Chinese. See Explain.
func Chinese(code string) (meaning, fix string) {
	family, _, _ := strings.Cut(code, ".")
	for _, c := range []string{code, family} {
		if words, ok := chinese[c]; ok {
			return words[0], words[1]
		}
	}
	return "腾讯云文档中没有列出的错误码", "请看错误信息；如果持续出现，请携带 RequestId 联系腾讯云技术支持"
}

const (
	zhWait    = "无需处理；如果持续出现，请携带 RequestId 联系腾讯云技术支持"
	zhSupport = "请携带 RequestId 联系腾讯云技术支持"
	zhNetwork = "检查到腾讯云的网络以及超时设置"
	zhProxy   = "检查接入地址以及中间的代理"
	zhParams  = "按错误信息修正房间的参数"
)

// chinese has the meaning and the fix of each code of explanations.
var chinese = map[string][2]string{
	"RequestLimitExceeded":                  {"一秒内的请求数超过了该接口的频率限制", "无需处理；如果持续出现，说明同一账号还有别的程序在调用，或向腾讯云申请提高限额"},
	"RequestLimitExceeded.IPLimitExceeded":  {"一秒内的请求数超过了单个来源 IP 的限制", "找出此 IP 上还有什么在调用腾讯云，或换一个 IP"},
	"RequestLimitExceeded.UinLimitExceeded": {"一秒内的请求数超过了整个账号的限制", "找出此账号还有什么在调用腾讯云，或申请提高限额"},
	"RequestLimitExceeded.GlobalRegionUinLimitExceeded": {
		"一秒内的请求数超过了账号在所有地域的总限制", "找出此账号还有什么在调用腾讯云，或申请提高限额",
	},
	"LimitExceeded":                 {"账号的某项配额已用完", "等几分钟；如果持续出现，请向腾讯云申请提高配额"},
	"LimitExceeded.TaskConcurrency": {"正在运行的任务数已达账号上限", "等待任务结束；如果持续出现，请向腾讯云申请提高上限"},
	codeTooManyRequests:             {"腾讯云 API 前面的某个设备返回 HTTP 429", "检查到腾讯云之间的代理或网关"},

	"InternalError":             {"腾讯云内部出错；后端服务太慢时其网关也返回此错误", zhWait},
	"ServiceUnavailable":        {"服务暂时不可用", "无需处理；如果持续出现，请查看腾讯云状态页"},
	"ResponseSizeLimitExceeded": {"响应超过腾讯云网关的大小限制，内容已丢失", zhSupport},
	codeNetwork:                 {"请求可能已发出，之后连接中断或超时", zhNetwork},
	codeIO:                      {"响应没有读完", zhNetwork},
	codeParseJSON:               {"响应不是腾讯云 API 的格式", zhProxy},
	codeHTTPStatus:              {"HTTP 状态码不是 200，而腾讯云 API 处理过的请求总是 200", zhProxy},
	codeIncomplete:              {"响应表示成功，但缺少所请求的内容", zhSupport},
	clientError:                 {"调用在本客户端失败", "请看错误信息"},

	"InternalErr":     {"腾讯云已创建任务，但生成白板快照失败", "再次对该房间快照；如果仍失败，请携带 TaskID 联系腾讯云技术支持"},
	CodeResultTimeout: {"任务已创建，但没有按时完成", "请携带 TaskID 联系腾讯云技术支持"},
	CodeOddResult: {
		"任务已创建，但腾讯云以文档中没有的方式告知了结果", "如有图片请查看；否则再次快照，或携带 TaskID 联系腾讯云技术支持",
	},
	CodeNoImage: {"任务成功但没有图片：很可能没有人标记过白板页面", "确认课堂应用调用了 addSnapshotMark，然后重新提交该房间"},
	CodeImageLost: {
		"在腾讯云保留图片的三天内未能复制图片", "查看错误信息中的主机；如果腾讯云仍有图片，重试会再次复制，否则重新提交该房间",
	},
	CodeInvalidRoom: {"房间违反了本版本新增的规则：没有发出请求", "按错误信息修正房间后重新提交"},

	CodeConnect:            {"无法连接接入地址：没有发出请求", "检查接入地址、DNS、防火墙、代理和本机证书"},
	codeNotPermitted:       {"建立连接时频率许可已失效：没有发出请求", "无需处理；如果持续出现，请检查为何连接接入地址很慢"},
	"ResourceUnavailable":  {"被拒绝：任务所需的某项资源不可用", "在腾讯云控制台检查应用是否正常"},
	"ResourceInsufficient": {"被拒绝：腾讯云暂时缺少资源", "无需处理；如果持续出现，请联系腾讯云技术支持"},
	"ResourceInUse":        {"被拒绝：资源正被占用", "无需处理；如果持续出现，请检查同一房间是否有别的任务"},
	"FailedOperation":      {"被拒绝：操作失败", "请看错误信息；如果持续出现，请携带 RequestId 联系腾讯云技术支持"},

	codeClockSkew: {"本机时钟与腾讯云相差超过 5 分钟：此后的请求按腾讯云的时间签名", "快照无需处理；请用 NTP 校准本机时钟"},

	"ResourceUnavailable.NotRegistered":         {"该账号没有开通互动白板", "在腾讯云控制台开通"},
	"ResourceUnavailable.ServiceExpired":        {"服务已到期或账号欠费", "在腾讯云控制台续费或充值"},
	"ResourceUnavailable.InterfaceUnAuthorized": {"该账号没有此接口的权限", "请腾讯云开通"},
	"UnauthorizedOperation": {
		"密钥没有此接口的权限", "在访问管理中授予 tiw:CreateSnapshotTask 和 tiw:DescribeSnapshotTask",
	},
	"UnauthorizedOperation.SdkAppId": {"SdkAppId 不存在或属于其他账号", "检查 SdkAppId，以及密钥是否属于同一账号"},
	"AuthFailure":                    {"密钥被拒绝", "检查 SecretId、SecretKey 和 Token"},
	"AuthFailure.UnauthorizedOperation": {
		"密钥没有此接口的权限", "在访问管理中授予 tiw:CreateSnapshotTask 和 tiw:DescribeSnapshotTask",
	},
	codeSignatureExpire: {"请求时间与腾讯云相差超过 5 分钟", "用 NTP 校准本机时钟"},
	"AuthFailure.SignatureFailure": {
		"签名错误：SecretKey 与 SecretId 不匹配，或代理改动了请求", "检查 SecretKey，以及接入地址是否为腾讯云自己的域名",
	},
	"AuthFailure.TokenFailure":         {"临时密钥的 Token 错误或已过期", "重新获取临时密钥"},
	"AuthFailure.SecretIdNotFound":     {"SecretId 不存在：已删除、已禁用、输入有误，或属于另一站点", "在控制台检查 SecretId，以及接入地址是否为同一站点"},
	"AuthFailure.InvalidSecretId":      {"该 SecretId 不能用于云 API", "使用访问管理控制台中的 API 密钥"},
	"AuthFailure.InvalidAuthorization": {"Authorization 头格式错误", "检查 SecretId 中是否有多余字符"},
	"AuthFailure.MFAFailure":           {"该账号要求多因素认证", "使用对此接口不要求多因素认证的用户密钥"},
	"IpInBlacklist":                    {"来源 IP 在黑名单中", "在访问管理中移出，或换一个 IP"},
	"IpNotInWhitelist":                 {"来源 IP 不在白名单中", "在访问管理中加入白名单"},
	"InvalidAction":                    {"接入地址不认识该接口", "检查接入地址"},
	"NoSuchVersion":                    {"接入地址不认识接口版本 2019-09-19", "检查接入地址"},
	"NoSuchProduct":                    {"接入地址不认识该产品", "检查接入地址"},
	"ActionOffline":                    {"腾讯云已下线该接口", "在腾讯云文档中查找替代接口"},
	"UnsupportedProtocol":              {"接入地址不接受该协议", "接入地址使用 https"},
	"UnsupportedRegion":                {"该地域没有此接口", "检查地域；国际站只有 ap-singapore"},
	"InvalidParameter.CallbackAddressFormatError": {
		"回调地址不被接受，而所有请求的回调地址前缀相同", "检查回调的公网地址",
	},
	codeBuildRequest: {"无法用这些设置构造请求", "检查 SecretId 和 Token 中是否有换行等多余字符"},

	"InvalidParameter":                  {"参数错误", zhParams},
	"InvalidParameter.SdkAppIdNotFound": {"SdkAppId 不存在", "修正 SdkAppId"},
	"InvalidParameter.TaskNotFound":     {"该 SdkAppId 没有此任务，或任务太旧", "检查 TaskID 与 SdkAppId 是否对应"},
	"InvalidParameterValue":             {"参数取值错误", zhParams},
	"MissingParameter":                  {"缺少必填参数", "补上错误信息中提到的参数"},
	"UnknownParameter":                  {"接口没有该参数", "去掉错误信息中提到的参数"},
	"InvalidRequest":                    {"请求体格式错误", "请将 RequestId 作为程序缺陷报告"},
	"RequestSizeLimitExceeded":          {"请求过大", "缩短白板的 InitParams"},
	"ResourceNotFound":                  {"请求中提到的资源不存在", zhParams},
	"UnsupportedOperation":              {"该房间不支持此操作", "请看错误信息"},
	"DryRunOperation":                   {"请求本可成功，但被标记为 DryRun", "去掉参数 DryRun"},
}
