"""Two short texts to try the library with."""

from __future__ import annotations

SAMPLES = {
    "Маяк на мысе Тихом.md": """# Маяк на мысе Тихом

Маяк на мысе Тихом построил в 1871 году инженер Павел Ремизов. До этого рыбаки деревни Заречье
зажигали на скале костры. Ремизов привёз из Гамбурга линзу Френеля и сам собрал её на верхней
площадке башни.

Первым смотрителем маяка стал Игнат Корчагин, отставной матрос. Игнат Корчагин вёл журнал, в
который записывал погоду, проходившие суда и рассказы рыбаков. Журнал маяка хранится теперь в
музее города Беломорска.

В 1904 году дочь смотрителя, Вера Корчагина, заметила с площадки огни парохода «Аврора Севера»,
который шёл прямо на мель. Вера Корчагина три часа вручную вращала линзу, потому что часовой
механизм остановился. Пароход «Аврора Севера» прошёл мимо мели, и капитан Ларс Хольм прислал на
маяк бронзовый колокол с надписью по-норвежски.

После войны маяк на мысе Тихом перевели на электричество. Линза Френеля осталась прежней, а
бронзовый колокол звонит в туман и сегодня. Музей Беломорска проводит экскурсии на маяк каждое
лето; журнал Игната Корчагина читают вслух на верхней площадке.
""",
    "The Clockmaker of Harrow Lane.md": """# The Clockmaker of Harrow Lane

Edith Marlow opened her workshop in Harrow Lane in 1926, in the cellar of the Old Corn Exchange.
She had learned her trade from Tobias Finch, the last clockmaker of Saint Anselm's Abbey, who
believed that a clock should be heard before it is seen.

Her best known work is the Tide Clock. The Tide Clock stands in the harbour office of Port Wenlow
and shows the height of the water instead of the hour. Edith Marlow built it for the harbour master,
Samuel Okoro, after the flood of 1931 had stopped every other clock in Port Wenlow.

Samuel Okoro wrote in his diary that the Tide Clock was never wrong by more than a hand's breadth.
The diary of Samuel Okoro was published by the Wenlow Historical Society, which also keeps the tools
of Tobias Finch and the drawings of the Tide Clock.

In 1954 Edith Marlow gave the workshop in Harrow Lane to her apprentice, Clara Finch, a
granddaughter of Tobias Finch. Clara Finch repaired the clock of Saint Anselm's Abbey and hung her
grandfather's bell in its tower again.
""",
}
