package tiwtest

import (
	"io"
	"net/http"
	"strconv"
)

// ImageFault is a fault of the response to an image request.
type ImageFault string

// The faults of images.
const (
	ImageForbidden   ImageFault = "403"
	ImageNotFound    ImageFault = "404"
	ImageUnavailable ImageFault = "503"
	ImageHang        ImageFault = "hang"    // no response; closed after Options.HoldLimit
	ImageStall       ImageFault = "stall"   // half the image, then nothing; closed after Options.HoldLimit
	ImageHTML        ImageFault = "html"    // an HTML page with status 200 and type image/png
	ImageType        ImageFault = "type"    // the image with type text/html
	ImageCut         ImageFault = "cut"     // half of Content-Length, then the connection closes
	ImageShort       ImageFault = "short"   // half the image, with a matching Content-Length
	ImageChunked     ImageFault = "chunked" // half the image as a complete chunked body
	ImageEndless     ImageFault = "endless" // the image without its end, then zeros until the client disconnects
)

// ImageFaults lists all image faults.
var ImageFaults = []ImageFault{
	ImageForbidden, ImageNotFound, ImageUnavailable, ImageHang, ImageStall, ImageHTML, ImageType, ImageCut,
	ImageShort, ImageChunked, ImageEndless,
}

// pickImage returns the fault of the n-th image request after the faults were set.
// u is drawn from [0, 1).
func (f *Faults) pickImage(n int, u float64) ImageFault {
	if f.ImagesFirst > 0 && n > f.ImagesFirst {
		return ""
	}
	for _, fault := range ImageFaults { // a fixed order makes draws reproducible
		if u < f.Images[fault] {
			return fault
		}
		u -= f.Images[fault]
	}
	return ""
}

// sendImage sends the image, altered by the fault.
func (s *Server) sendImage(w http.ResponseWriter, r *http.Request, fault ImageFault, img []byte) {
	h := w.Header()
	h.Set("Content-Type", "image/png")
	length := func(n int) { h.Set("Content-Length", strconv.Itoa(n)) }
	half := img[:len(img)/2]
	send := func(b []byte) {
		w.Write(b)
		http.NewResponseController(w).Flush()
	}
	switch fault {
	case ImageForbidden, ImageNotFound, ImageUnavailable:
		status, _ := strconv.Atoi(string(fault))
		http.Error(w, http.StatusText(status), status)
	case ImageHang:
		s.pause(r.Context(), s.opt.HoldLimit)
		panic(http.ErrAbortHandler)
	case ImageStall:
		length(len(img))
		send(half)
		s.pause(r.Context(), s.opt.HoldLimit)
		panic(http.ErrAbortHandler)
	case ImageHTML:
		io.WriteString(w, "<html><head><title>Sign in</title></head><body><h1>Sign in</h1></body></html>\n")
	case ImageCut:
		length(len(img))
		send(half)
		panic(http.ErrAbortHandler)
	case ImageShort:
		length(len(half))
		w.Write(half)
	case ImageChunked:
		send(half)
	case ImageEndless:
		send(img[:len(img)-12]) // 12: the chunk IEND
		zeros := make([]byte, 64<<10)
		for s.ctx.Err() == nil {
			if _, err := w.Write(zeros); err != nil {
				break
			}
		}
		panic(http.ErrAbortHandler)
	case ImageType:
		h.Set("Content-Type", "text/html")
		fallthrough
	default:
		length(len(img))
		w.Write(img)
	}
}
