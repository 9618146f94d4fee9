"use strict";
// Runs after trimesh's viewer, whose scene, camera, controls and renderer are globals: the page's colours, softer
// light, points of a sensible size, smooth surfaces, arrow keys, a slow turn until someone takes hold, and frames that
// play (space halts them, comma and full stop go through them).
(function studio() {
  if (!window.controls) return setTimeout(studio, 20);
  const page = parent.getComputedStyle(parent.document.documentElement);
  renderer.outputEncoding = THREE.sRGBEncoding;
  scene.background = new THREE.Color(page.getPropertyValue("--surface").trim());
  const key = new THREE.DirectionalLight(0xffffff, 0.75);
  key.position.set(1.5, 2, 0);
  camera.add(key); // above the right shoulder, wherever one looks from
  tracklight.intensity = 0.2;
  scene.add(new THREE.HemisphereLight(0xffffff, 0x6a7480, 0.42));
  camera.position.multiplyScalar(Math.max(1, innerHeight / innerWidth)); // a phone is narrow
  scene.traverse((item) => {
    if (item.isMesh) {
      item.geometry.computeVertexNormals();
      item.material.flatShading = false;
      item.material.needsUpdate = true;
    }
    if (item.isPoints) {
      item.material = new THREE.PointsMaterial({ color: item.material.color, size: 0.065 });
      shadeByDepth(item.material);
    }
  });
  controls.staticMoving = false;
  controls.noPan = true;

  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const player = clip();
  let turning = !calm;
  const hold = () => (turning = false);
  renderer.domElement.addEventListener("pointerdown", hold);
  renderer.domElement.addEventListener("wheel", hold);
  const axis = new THREE.Vector3(0, 1, 0);
  const turn = (angle, around) => camera.position.sub(controls.target).applyAxisAngle(around, angle).add(controls.target);
  addEventListener("keydown", (event) => {
    const sideways = new THREE.Vector3(1, 0, 0).applyQuaternion(camera.quaternion);
    const moves = { ArrowLeft: [-0.1, axis], ArrowRight: [0.1, axis], ArrowUp: [-0.1, sideways], ArrowDown: [0.1, sideways] };
    const halts = { " ": () => player.toggle(), ",": () => player.step(-1), ".": () => player.step(1) };
    if (event.key in halts) {
      halts[event.key]();
      event.preventDefault();
    }
    if (event.key === "Escape") parent.document.querySelector("dialog").close();
    if (!(event.key in moves)) return;
    hold();
    turn(...moves[event.key]);
    event.preventDefault();
  });
  (function frame() {
    requestAnimationFrame(frame);
    if (turning) turn(0.006, axis);  // the viewer's own loop sees that the camera moved, and draws
    player.tick();
  })();
  render();
  parent.document.documentElement.dataset.viewer = "ready";

  // One node per frame, of which one is seen; the page's own button and slider show and set which.
  function clip() {
    const frames = [];
    scene.traverse((item) => /^frame\d+$/.test(item.name) && frames.push(item));
    frames.sort((a, b) => a.name.slice(5) - b.name.slice(5));
    const panel = parent.document.querySelector(".player");
    const [button, slider, words] = ["button", "input", "output"].map((tag) => panel.querySelector(tag));
    let playing = frames.length > 1 && !calm;
    let shown = 0;
    let due = performance.now();
    function show(index) {
      shown = (index + frames.length) % frames.length;
      frames.forEach((frame, position) => (frame.visible = position === shown));
      slider.value = shown;
      words.textContent = `${shown + 1} / ${frames.length}`;
      render();
    }
    function play(wanted) {
      playing = wanted && frames.length > 1;
      due = performance.now();
      button.textContent = playing ? "Pause" : "Play";
    }
    function step(by) {
      play(false);
      show(shown + by);
    }
    panel.hidden = frames.length < 2;
    slider.max = frames.length - 1;
    button.onclick = () => play(!playing);
    slider.oninput = () => step(slider.value - shown);
    play(playing);
    show(0);
    return {
      step,
      toggle: () => play(!playing),
      tick() {
        if (!playing || performance.now() < due) return;
        due += 80;
        if (performance.now() > due + 400) due = performance.now();
        show(shown + 1);
      },
    };
  }

  // Far points darker, near ones round: a cloud of one colour is a flat stain.
  function shadeByDepth(material) {
    material.onBeforeCompile = (shader) => {
      shader.fragmentShader = shader.fragmentShader.replace(
        "#include <color_fragment>",
        `#include <color_fragment>
        vec2 offset = gl_PointCoord - 0.5;
        if (dot(offset, offset) > 0.25) discard;
        float depth = clamp((1.0 / gl_FragCoord.w - 2.4) / 2.0, 0.0, 1.0);
        diffuseColor.rgb *= (1.15 - 0.65 * depth) * (1.1 - 1.4 * dot(offset, offset));`,
      );
    };
  }
})();
