package tiwtest

import (
	"io"
	"net/http"
	"strconv"
)

// ImageFault is what a request for an image is answered instead of the image.
type ImageFault string

// The faults of images.
const (
	ImageForbidden   ImageFault = "403"
	ImageNotFound    ImageFault = "404"
	ImageUnavailable ImageFault = "503"
	ImageHang        ImageFault = "hang"    // never answered, until the client leaves or Options.HoldLimit is over
	ImageStall       ImageFault = "stall"   // half the image, and then nothing for as long
	ImageHTML        ImageFault = "html"    // 200 and image/png, but an HTML page
	ImageType        ImageFault = "type"    // the image, as text/html
	ImageCut         ImageFault = "cut"     // half of what Content-Length says, then the connection is cut
	ImageShort       ImageFault = "short"   // half the image, and Content-Length says that this is all
	ImageChunked     ImageFault = "chunked" // half the image without a Content-Length, ended as if it were all
	ImageEndless     ImageFault = "endless" // the image without its end, then zeros until the client leaves
)

// ImageFaults are all of them.
var ImageFaults = []ImageFault{
	ImageForbidden, ImageNotFound, ImageUnavailable, ImageHang, ImageStall, ImageHTML, ImageType, ImageCut,
	ImageShort, ImageChunked, ImageEndless,
}

// pickImage returns the fault that strikes a request for an image, the n-th since
// the faults were set, for a u drawn from [0, 1).
func (f *Faults) pickImage(n int, u float64) ImageFault {
	if f.ImagesFirst > 0 && n > f.ImagesFirst {
		return ""
	}
	for _, fault := range ImageFaults { // in a fixed order
		if u < f.Images[fault] {
			return fault
		}
		u -= f.Images[fault]
	}
	return ""
}

// sendImage answers a request for an image, or what the fault makes of it.
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
		send(img[:len(img)-12]) // IEND is as long
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
