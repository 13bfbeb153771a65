// Login form.
const form = document.getElementById("login");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await fetch("/login", { method: "POST", body: new URLSearchParams(new FormData(form)) });
  if (response.ok) location.href = "/";
  else document.getElementById("message").textContent = (await response.json()).message;
});
