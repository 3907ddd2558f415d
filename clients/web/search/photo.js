// A photograph by this machine's camera; the stream ends with the dialog.

import { button, el } from "../dom.js";
import { t } from "../language.js";
import { dialog } from "../shortcuts.js";

/** Asks for a photograph: a file, or null where none was taken. */
export function takePhoto() {
  return new Promise((resolve) => {
    const video = el("video", { autoplay: true, playsinline: true, muted: true, "aria-label": t("photo.title") });
    const words = el("p", { class: "hint", role: "status" }, t("photo.waiting"));
    const shoot = button(t("photo.take"), "photo", async () => finish(await still(video)), { class: "primary", disabled: true });
    let stream = null;
    let taken = null;
    const box = dialog(t("photo.title"), words, video, el("footer", {}, shoot));
    const finish = (file) => {
      taken = file;
      box.close();
    };
    box.classList.add("wide");
    box.addEventListener("close", () => {
      stream?.getTracks().forEach((track) => track.stop());
      resolve(taken);
    });
    navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } }).then(
      (given) => {
        stream = given;
        video.srcObject = given;
        words.textContent = t("photo.ready");
        shoot.disabled = false;
        shoot.focus();
        if (!box.open) given.getTracks().forEach((track) => track.stop());
      },
      () => {
        words.textContent = t("photo.refused");
      },
    );
  });
}

function still(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(new File([blob], "photo.png", { type: "image/png" })), "image/png"));
}
